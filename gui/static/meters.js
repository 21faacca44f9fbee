// Input and output, level and peak, with the highest peak held and a mark where it clipped until it is tapped.
import { ref } from "vue";
import { DIM, FONT, GOLD, GRID, RED, TEAL, useCanvas } from "./canvas.js";
import { at, streams } from "./live.js";

const FLOOR = -60;
const HOLD_MS = 1500;
const FALL_DB_PER_S = 24;
const MARKS = [-48, -36, -24, -12, -6];

export const Meters = {
  setup() {
    const sides = [
      { name: "IN", hold: FLOOR, since: 0, clipped: false },
      { name: "OUT", hold: FLOOR, since: 0, clipped: false },
    ];
    const spoken = ref("Levels");
    let last = 0;
    const canvas = useCanvas((context, width, height, now) => {
      const meter = streams[at("meter")] ?? [FLOOR, FLOOR, FLOOR, FLOOR, 0, 0];
      const passed = Math.min(0.2, (now - last) / 1000);
      last = now;
      const small = width < 420;
      const head = small ? 34 : 44;
      const tail = small ? 50 : 64;
      const gap = 7;
      const bar = (height - gap) / 2;
      const span = width - head - tail;
      const x = (level) => head + span * Math.min(1, Math.max(0, (level - FLOOR) / -FLOOR));
      const ramp = context.createLinearGradient(head, 0, head + span, 0);
      ramp.addColorStop(0, "#1c8f83");
      ramp.addColorStop(0.62, TEAL);
      ramp.addColorStop(0.86, GOLD);
      ramp.addColorStop(1, RED);
      context.textBaseline = "middle";
      sides.forEach((side, place) => {
        const [peak, level, clip] = [meter[2 * place], meter[2 * place + 1], meter[4 + place]];
        if (clip) side.clipped = true;
        if (peak >= side.hold) [side.hold, side.since] = [peak, now];
        else if (now - side.since > HOLD_MS) side.hold = Math.max(peak, side.hold - FALL_DB_PER_S * passed);
        const y = place * (bar + gap);
        const radius = Math.min(6, bar / 2);
        context.save();
        context.beginPath();
        context.roundRect(head, y, span, bar, radius);
        context.clip();
        context.fillStyle = "rgba(255, 236, 220, .07)";
        context.fillRect(head, y, span, bar);
        context.fillStyle = ramp;
        context.globalAlpha = 0.42;
        context.fillRect(head, y, x(peak) - head, bar);
        context.globalAlpha = 1;
        context.fillRect(head, y, x(level) - head, bar);
        context.fillStyle = GRID;
        for (const mark of MARKS) context.fillRect(x(mark), y, 1, bar);
        if (side.hold > FLOOR + 0.5) {
          context.fillStyle = side.hold > -1 ? RED : "#fff6ee";
          context.fillRect(x(side.hold) - 3, y, 3, bar);
        }
        context.restore();
        context.fillStyle = DIM;
        context.textAlign = "left";
        context.font = `700 ${small ? 12 : 13}px ${FONT}`;
        context.fillText(side.name, 0, y + bar / 2 + 1);
        const text = side.clipped ? "CLIP" : side.hold <= FLOOR ? "–∞" : side.hold.toFixed(1).replace("-", "−");
        context.textAlign = "right";
        context.font = `700 ${small ? 14 : 17}px ${FONT}`;
        if (side.clipped) {
          context.fillStyle = RED;
          context.beginPath();
          context.roundRect(width - tail + 8, y, tail - 8, bar, radius);
          context.fill();
          context.fillStyle = "#fff";
          context.textAlign = "center";
          context.font = `800 ${small ? 12 : 14}px ${FONT}`;
          context.fillText(text, width - (tail - 8) / 2, y + bar / 2 + 1);
        } else {
          context.fillStyle = "#f6eee6";
          context.fillText(text, width, y + bar / 2 + 1);
        }
      });
    });
    const clear = () => sides.forEach((side) => ([side.hold, side.clipped] = [FLOOR, false]));
    return { canvas, clear, spoken };
  },
  template: `<button class="meters" type="button" aria-label="Levels of input and output; clears held peaks" @click="clear"><canvas ref="canvas"></canvas></button>`,
};
