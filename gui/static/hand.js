// What a finger or mouse does to a control: drag, coarse and fine, tap, double tap, long press.

const SLOP_PX = 6;
const DOUBLE_MS = 320;
const NEAR_PX = 30;
const LONG_MS = 550;
const SPAN_PX = 190;
const AWAY_PX = 90;

const taps = new WeakMap();

// Follow one pointer from `pointerdown` on. Handlers: drag(share moved, event), at(event), tap, twice, long, end.
export function follow(event, handlers) {
  if (event.button > 0) return;
  const element = event.currentTarget;
  element.setPointerCapture?.(event.pointerId);
  const start = { x: event.clientX, y: event.clientY };
  let last = event;
  let far = false;
  let pressed = false;
  const long = handlers.long && setTimeout(() => {
    pressed = true;
    navigator.vibrate?.(12);
    finish();
    handlers.long();
  }, LONG_MS);
  const before = taps.get(element);
  const near = before && Math.hypot(before.x - start.x, before.y - start.y) < NEAR_PX;
  const twice = handlers.twice && near && event.timeStamp - before.at < DOUBLE_MS;
  if (twice) taps.delete(element);
  else taps.set(element, { ...start, at: event.timeStamp });
  if (twice) handlers.twice();
  else handlers.at?.(event);

  const moving = (now) => {
    if (now.pointerId !== event.pointerId) return;
    if (!far && Math.hypot(now.clientX - start.x, now.clientY - start.y) < SLOP_PX) return;
    if (!far) {
      far = true;
      taps.delete(element); // what was moved was no tap
      clearTimeout(long);
      last = now;
      return;
    }
    const away = Math.abs(now.clientX - start.x) > AWAY_PX;
    const fine = now.shiftKey ? 0.1 : away ? 0.25 : 1;
    handlers.drag?.(((last.clientY - now.clientY) / SPAN_PX) * fine, now);
    if (!twice) handlers.at?.(now);
    last = now;
  };
  const ending = (now) => {
    if (now.pointerId !== event.pointerId) return;
    finish();
    if (now.type === "pointerup" && !far && !pressed && !twice) handlers.tap?.(now);
  };
  const finish = () => {
    clearTimeout(long);
    element.removeEventListener("pointermove", moving);
    element.removeEventListener("pointerup", ending);
    element.removeEventListener("pointercancel", ending);
    handlers.end?.();
  };
  element.addEventListener("pointermove", moving);
  element.addEventListener("pointerup", ending);
  element.addEventListener("pointercancel", ending);
}
