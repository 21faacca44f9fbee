// Keys that work wherever nothing else wants them.
import { move, order, toggle, value } from "./live.js";
import { recall, store } from "./play.js";
import { sheet } from "./sheet.js";

const TYPING = "input, textarea, select, [contenteditable]";

export function keys(go, views) {
  const table = {
    ArrowLeft: () => order("preset/previous"),
    ArrowRight: () => order("preset/next"),
    t: () => toggle("tuner"),
    m: () => toggle("mute"),
    r: () => toggle("record"),
    z: () => order("undo"),
    y: () => order("redo"),
    a: () => order("compare", "a"),
    b: () => order("compare", "b"),
    "?": () => sheet.open("help"),
    Escape: () => (sheet.name ? sheet.close() : value("tuner", 0) && move("tuner", 0)),
  };
  addEventListener("keydown", (event) => {
    if (event.altKey || event.metaKey || event.target.closest?.(TYPING)) return;
    const digit = event.code.match(/^(?:Digit|Numpad)([1-8])$/)?.[1];
    const view = event.key.match(/^F([1-9])$/)?.[1];
    let act = table[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (event.ctrlKey && !["z", "y"].includes(event.key)) return;
    if (event.key === " ") {
      // A button that was reached by the keyboard is pressed by it, as everywhere.
      if (event.target.matches?.("button:focus-visible, a:focus-visible")) return;
      act = () => toggle("bypass");
    } else if (digit) {
      act = () => (event.shiftKey ? store : recall)(Number(digit));
    } else if (view && views[view - 1]) {
      act = () => go(views[view - 1]);
    }
    if (!act || (sheet.name && event.key !== "Escape") || event.repeat) return;
    event.preventDefault();
    act();
  });
  // A button that was tapped must not catch the space bar afterwards.
  addEventListener("click", (event) => {
    if (event.detail && document.activeElement?.matches("button") && !sheet.name) document.activeElement.blur();
  });
}
