// What one would rather look at: spectrum, times, delay by part, counters, recording.
import { computed, onBeforeUnmount, onMounted, ref } from "vue";
import { DIM, EMBER, FONT, GOLD, GRID, RED, ROSE, STYLE_COLOURS, TEAL, useCanvas } from "./canvas.js";
import { Icon } from "./icons.js";
import { at, has, look, order, slots, streams, toggle, value, values } from "./live.js";
import { label } from "./units.js";

const FLOOR = -100;
const LINES = [50, 100, 200, 500, 1000, 2000, 5000, 10000];

const Spectrum = {
  setup() {
    let end = () => {};
    onMounted(() => (end = look(["spectrum/input", "spectrum/output"])));
    onBeforeUnmount(() => end());
    const smooth = {};
    const canvas = useCanvas((context, width, height) => {
      const bands = values[at("spectrum/bands")] ?? [];
      const foot = 22;
      const tall = height - foot;
      const low = Math.log(bands[0] ?? 30);
      const high = Math.log(bands[bands.length - 1] ?? 18000);
      const x = (hertz) => ((Math.log(hertz) - low) / (high - low)) * width;
      const y = (level) => tall * Math.min(1, Math.max(0, level / FLOOR));
      context.font = `500 12px ${FONT}`;
      context.textBaseline = "alphabetic";
      context.textAlign = "center";
      for (const line of LINES) {
        if (x(line) < 14 || x(line) > width - 14) continue;
        context.fillStyle = GRID;
        context.fillRect(x(line), 0, 1, tall);
        context.fillStyle = DIM;
        context.fillText(line >= 1000 ? `${line / 1000}k` : `${line}`, x(line), height - 5);
      }
      context.textAlign = "left";
      for (let level = -20; level > FLOOR; level -= 20) {
        context.fillStyle = GRID;
        context.fillRect(0, y(level), width, 1);
        context.fillStyle = DIM;
        context.fillText(`${level}`.replace("-", "−"), 4, y(level) - 4);
      }
      for (const [side, colour, filled] of [["input", TEAL, false], ["output", EMBER, true]]) {
        const now = streams[at(`spectrum/${side}`)] ?? [];
        if (now.length < 2 || bands.length !== now.length) continue;
        const kept = (smooth[side] ??= [...now]);
        now.forEach((level, band) => (kept[band] = level > kept[band] ? level : kept[band] + 0.18 * (level - kept[band])));
        context.beginPath();
        kept.forEach((level, band) => context.lineTo(x(bands[band]), y(level)));
        context.strokeStyle = colour;
        context.lineWidth = 2;
        context.lineJoin = "round";
        context.stroke();
        if (!filled) continue;
        context.lineTo(width, tall);
        context.lineTo(0, tall);
        const fall = context.createLinearGradient(0, 0, 0, tall);
        fall.addColorStop(0, "rgba(255, 107, 53, .5)");
        fall.addColorStop(1, "rgba(255, 107, 53, 0)");
        context.fillStyle = fall;
        context.fill();
      }
    });
    return { canvas };
  },
  template: `<figure class="panel spectrum"><figcaption>Spectrum<span class="key teal">input</span><span class="key ember">output</span></figcaption><canvas ref="canvas" role="img" aria-label="Spectrum of input and output"></canvas></figure>`,
};

const Histogram = {
  setup() {
    let end = () => {};
    onMounted(() => (end = look(["status/histogram"])));
    onBeforeUnmount(() => end());
    const canvas = useCanvas((context, width, height) => {
      const [period = 0, step = 1, ...counts] = streams[at("status/histogram")] ?? [];
      if (!period) return;
      const foot = 20;
      const tall = height - foot;
      const last = Math.max(1, ...counts.map((count, place) => (count ? place + 1 : 0)));
      const span = Math.min(counts.length * step, Math.max(1.15 * period, (last + 1) * step));
      const most = Math.max(1, ...counts);
      const x = (us) => (us / span) * width;
      counts.forEach((count, place) => {
        if (!count || place * step > span) return;
        const share = Math.log1p(count) / Math.log1p(most);
        context.fillStyle = place * step >= period ? RED : place * step > 0.75 * period ? GOLD : TEAL;
        context.fillRect(x(place * step), tall * (1 - share), Math.max(1.5, x(step) - 1), tall * share);
      });
      context.fillStyle = "#f6eee6";
      context.fillRect(x(period) - 1, 0, 2, tall);
      context.font = `500 12px ${FONT}`;
      context.fillStyle = DIM;
      const left = x(period) > width / 2;
      context.textAlign = left ? "right" : "left";
      context.fillText(`${Math.round(period)} µs there are`, x(period) + (left ? -8 : 8), 14);
      context.textAlign = "left";
      context.fillText("0", 0, height - 4);
      context.textAlign = "right";
      context.fillText(`${Math.round(span)} µs`, width, height - 4);
    });
    return { canvas };
  },
  template: `<figure class="panel histogram"><figcaption>Time per block</figcaption><canvas ref="canvas" role="img" aria-label="How many blocks took how long"></canvas></figure>`,
};

const Parts = {
  setup() {
    const parts = computed(() => {
      const [device = -1, reblocking = 0, safety = 0, ...own] = values["/duende/status/parts"] ?? [];
      const named = [
        ["device", device, DIM],
        ["re-blocking", reblocking, GOLD],
        ["safety", safety, ROSE],
        ...own.map((ms, place) => [label(value(`slot/${place + 1}/name`, `slot ${place + 1}`)), ms, STYLE_COLOURS[place % 4]]),
      ];
      return named.filter(([, ms]) => ms > 0).map(([name, ms, colour]) => ({ name, ms, colour }));
    });
    return { parts, sum: computed(() => parts.value.reduce((all, one) => all + one.ms, 0)) };
  },
  template: `
<figure class="panel parts"><figcaption>Delay<b>{{ sum.toFixed(1) }}<small>ms</small></b></figcaption>
  <div class="stack" role="img" :aria-label="parts.map((one) => one.name + ' ' + one.ms.toFixed(1) + ' ms').join(', ')">
    <i v-for="one in parts" :key="one.name" :style="{ flexGrow: one.ms, background: one.colour }"></i>
  </div>
  <ul><li v-for="one in parts" :key="one.name"><i :style="{ background: one.colour }"></i>{{ one.name }}<b>{{ one.ms.toFixed(1) }}<small>ms</small></b></li></ul>
</figure>`,
};

const Counters = {
  setup() {
    const rows = computed(() => [
      ["late blocks", value("status/late", 0)],
      ["input lost", (values["/duende/status/xruns"] ?? [0, 0])[0]],
      ["output lost", (values["/duende/status/xruns"] ?? [0, 0])[1]],
      ["styles rested", value("status/rests", 0)],
      ["faults", value("status/faults", 0)],
    ]);
    return { rows, has, reset: () => order("status/reset") };
  },
  template: `
<figure class="panel counters"><figcaption>Since the start<button v-if="has('status/reset')" type="button" class="wide" @click="reset">Reset</button></figcaption>
  <dl><div v-for="[name, count] in rows" :key="name" :class="{ bad: count }"><dt>{{ name }}</dt><dd>{{ count }}</dd></div></dl>
</figure>`,
};

const Record = {
  components: { Icon },
  setup() {
    const on = computed(() => !!value("record", 0));
    const since = ref(0);
    const passed = ref(0);
    const timer = setInterval(() => {
      if (!on.value) since.value = 0;
      else if (!since.value) since.value = Date.now();
      passed.value = since.value ? Math.floor((Date.now() - since.value) / 1000) : 0;
    }, 250);
    onBeforeUnmount(() => clearInterval(timer));
    const clock = computed(() => `${Math.floor(passed.value / 60)}:${String(passed.value % 60).padStart(2, "0")}`);
    return { on, clock, toggle, files: computed(() => values["/duende/record/state"]?.[1] ?? "") };
  },
  template: `
<figure class="panel record"><figcaption>Recording</figcaption>
  <button type="button" class="recbutton" :aria-pressed="on" aria-label="Record" @click="toggle('record')"><i></i><b>{{ on ? clock : "Record" }}</b></button>
  <p>{{ files || "dry and wet, as two files in the player's folder" }}</p>
</figure>`,
};

export const Looks = {
  components: { Counters, Histogram, Parts, Record, Spectrum },
  setup: () => ({ has, slots }),
  template: `
<section class="looks" aria-label="Look">
  <Spectrum v-if="has('spectrum/input')"/>
  <Parts v-if="has('status/parts')"/>
  <Histogram v-if="has('status/histogram')"/>
  <Record v-if="has('record')"/>
  <Counters/>
</section>`,
};
