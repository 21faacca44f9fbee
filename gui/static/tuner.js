// The tuner, over the whole page: the note, how far it is off, and whether the output is muted meanwhile.
import { computed } from "vue";
import { FONT, GOLD, GRID, RED, TEAL, useCanvas } from "./canvas.js";
import { Icon } from "./icons.js";
import { at, move, streams, toggle, value } from "./live.js";
import { Knob } from "./knob.js";

const IN_TUNE = 3;
const STALE_MS = 1200;

export const Tuner = {
  components: { Icon, Knob },
  setup() {
    let needle = 0;
    let seen = null;
    let heardAt = 0;
    const canvas = useCanvas((context, width, height, now) => {
      const pitch = streams[at("tuner/pitch")] ?? ["", 0, 0];
      if (pitch !== seen) {
        seen = pitch;
        if (pitch[0]) heardAt = now;
      }
      const lives = pitch[0] && now - heardAt < STALE_MS;
      const cents = lives ? Math.max(-50, Math.min(50, pitch[1])) : 0;
      needle += 0.35 * (cents - needle);
      const tuned = lives && Math.abs(pitch[1]) <= IN_TUNE;
      const colour = !lives ? "#8d8077" : tuned ? TEAL : Math.abs(cents) < 15 ? GOLD : RED;
      const middle = width / 2;
      const span = Math.min(width * 0.44, 520);
      const line = height * 0.7;
      context.textAlign = "center";
      context.textBaseline = "middle";
      const size = Math.min(height * 0.42, width * 0.4);
      context.font = `800 ${size}px ${FONT}`;
      context.fillStyle = colour;
      const [, letter = "", sharp = "", octave = ""] = lives ? pitch[0].match(/^([A-G])([#b♯♭]?)(-?\d+)?/) ?? [] : [];
      context.fillText(letter, middle, height * 0.3);
      const half = context.measureText(letter).width / 2;
      context.font = `700 ${size * 0.3}px ${FONT}`;
      context.textAlign = "left";
      context.fillText(sharp.replace("#", "♯").replace("b", "♭"), middle + half + 8, height * 0.3 - size * 0.22);
      context.fillText(octave, middle + half + 8, height * 0.3 + size * 0.24);
      for (let mark = -50; mark <= 50; mark += 5) {
        const tall = mark % 25 === 0 ? 30 : 16;
        context.fillStyle = mark === 0 ? "#f6eee6" : GRID;
        context.fillRect(middle + (mark / 50) * span - 1, line - tall / 2, 2, tall);
      }
      context.fillStyle = colour;
      context.beginPath();
      context.roundRect(middle + (needle / 50) * span - 7, line - 44, 14, 88, 7);
      context.fill();
      context.textAlign = "center";
      context.font = `${lives ? 600 : 800} ${lives ? 24 : 40}px ${FONT}`;
      const text = lives ? (tuned ? "in tune" : `${pitch[1] > 0 ? "+" : "−"}${Math.abs(pitch[1]).toFixed(0)} cents`) : "play a string";
      context.fillText(text, middle, lives ? Math.min(height - 16, line + 78) : height * 0.32);
    });
    return {
      canvas, toggle,
      close: () => move("tuner", 0),
      muted: computed(() => value("tuner/mute", 0)),
      reference: "/duende/tuner/reference",
    };
  },
  template: `
<div class="tuner" role="dialog" aria-modal="true" aria-label="Tuner">
  <canvas ref="canvas" role="img" aria-label="Pitch"></canvas>
  <div class="below">
    <Knob :address="reference" name="A4"/>
    <button class="switch" type="button" :aria-pressed="!!muted" @click="toggle('tuner/mute')"><Icon name="mute"/>Silent</button>
    <button class="switch done" type="button" @click="close">Done</button>
  </div>
</div>`,
};
