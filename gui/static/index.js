// What the page consists of; NiceGUI's import map calls this folder "duende-gui".
export { Shell } from "./app.js";
