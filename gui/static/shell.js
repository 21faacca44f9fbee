import { Shell } from "duende-gui";

export default Shell;
