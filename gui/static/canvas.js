// A canvas that is as sharp as the screen, drawn again with every frame that comes and when its size changes.
import { onBeforeUnmount, onMounted, ref } from "vue";
import { onFrame } from "./live.js";

// draw(context, width, height, now): sizes in CSS pixels.
export function useCanvas(draw) {
  const canvas = ref(null);
  let stop = () => {};
  let watch = null;
  onMounted(() => {
    const element = canvas.value;
    const context = element.getContext("2d");
    let width = 0;
    let height = 0;
    const paint = (now) => {
      if (!width || !height) return;
      context.clearRect(0, 0, width, height);
      draw(context, width, height, now);
    };
    watch = new ResizeObserver(() => {
      const ratio = Math.min(3, window.devicePixelRatio || 1);
      width = element.clientWidth;
      height = element.clientHeight;
      element.width = Math.round(width * ratio);
      element.height = Math.round(height * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      paint(performance.now());
    });
    watch.observe(element);
    stop = onFrame(paint);
  });
  onBeforeUnmount(() => {
    stop();
    watch?.disconnect();
  });
  return canvas;
}

export const EMBER = "#ff6b35";
export const GOLD = "#ffc145";
export const ROSE = "#ff4f81";
export const TEAL = "#36d6c3";
export const RED = "#ff3b30";
export const DIM = "#8d8077";
export const GRID = "rgba(255, 236, 220, .09)";
export const FONT = "Roboto, 'Helvetica Neue', system-ui, sans-serif";
export const STYLE_COLOURS = [EMBER, GOLD, TEAL, ROSE];
