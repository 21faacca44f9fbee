// The forge: a recording goes in, its style is learned in sight of all, the host plays it.
import { computed, nextTick, onBeforeUnmount, onMounted, reactive, ref, watch } from "vue";

const EMBER = "#ff6b35", GOLD = "#ffc145", DIM = "#8d8077", GRID = "rgba(255, 236, 220, .09)";
const FONT = "Roboto, 'Helvetica Neue', system-ui, sans-serif";
const KINDS = ".wav,.flac,.ogg,.oga,.opus,.mp3,.aif,.aiff,.caf,.au,.w64,audio/*";
const RETRY_MS = [300, 700, 1500, 3000];
const HEAT = [[0, [0, 0, 4]], [0.25, [61, 15, 55]], [0.5, [160, 36, 66]], [0.72, [237, 89, 41]], [0.88, [252, 181, 50]], [1, [252, 255, 214]]];
const MAX_BYTES = 192 * 2 ** 20;

const PALETTE = Array.from({ length: 256 }, (_, level) => {
  const share = level / 255;
  const next = Math.max(1, HEAT.findIndex(([end]) => share <= end));
  const [[low, from], [high, to]] = [HEAT[next - 1], HEAT[next]];
  return from.map((value, channel) => Math.round(value + ((to[channel] - value) * (share - low)) / (high - low)));
});

function paintPicture(canvas, picture) {
  const { rows, frames } = picture;
  const bytes = Uint8Array.from(atob(picture.picture), (letter) => letter.charCodeAt(0));
  if (bytes.length !== rows * frames) return;
  canvas.width = frames;
  canvas.height = rows;
  const image = new ImageData(frames, rows);
  bytes.forEach((level, place) => image.data.set([...PALETTE[level], 255], 4 * place));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function sharp(canvas) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return [context, width, height];
}

// Distances against steps, both smoothed; 1 is what an equaliser alone would reach.
function paintCurve(canvas, points, steps) {
  const [context, width, height] = sharp(canvas);
  if (!width || !height) return;
  const foot = 20, left = 34, wide = width - left - 8, tall = height - foot;
  const smooth = [1, 2].map((column) => {
    let kept = null;
    return points.map((point) => (kept = kept === null ? point[column] : kept + 0.12 * (point[column] - kept)));
  });
  const most = Math.max(1.1, ...smooth.flat());
  const last = Math.max(steps || 0, points.length ? points[points.length - 1][0] : 1, 10);
  const x = (step) => left + (step / last) * wide;
  const y = (value) => tall * (1 - Math.min(1, value / most)) + 6;
  context.font = `500 12px ${FONT}`;
  context.fillStyle = DIM;
  context.textAlign = "right";
  for (let value = 0; value <= most; value += most > 2.2 ? 1 : 0.5) {
    context.fillStyle = GRID;
    context.fillRect(left, y(value), wide, value === 1 ? 2 : 1);
    context.fillStyle = DIM;
    context.fillText(value.toFixed(1), left - 8, y(value) + 4);
  }
  context.fillText(`${last} steps`, width - 8, height - 3);
  [GOLD, EMBER].forEach((colour, place) => {
    const values = smooth[1 - place];
    context.beginPath();
    values.forEach((value, index) => context.lineTo(x(points[index][0]), y(value)));
    context.strokeStyle = colour;
    context.lineWidth = 3;
    context.lineJoin = "round";
    context.stroke();
  });
}

function paintOutline(canvas, outline) {
  const [context, width, height] = sharp(canvas);
  const step = width / Math.max(1, outline.length);
  context.fillStyle = EMBER;
  outline.forEach((peak, place) => {
    const tall = Math.max(2, peak * height);
    context.fillRect(place * step, (height - tall) / 2, Math.max(1, step - 1.5), tall);
  });
}

export default {
  setup() {
    const state = reactive({ phase: "empty", outline: [], notices: [] });
    const order = reactive({ name: "", mode: "timbre", quality: "good" });
    const trouble = ref("");
    const taken = ref(false);
    const over = ref(false);
    const sent = ref(0);
    const busy = ref(false);
    const file = ref(null), outline = ref(null), curve = ref(null), style = ref(null), sound = ref(null);
    const pictures = reactive({});
    let points = [];
    let run = -1;
    let socket = null;
    let attempt = 0;
    let timer = 0;
    let typed = false;
    let uploading = null;

    const hear = (message) => {
      const fresh = message.state.run !== run;
      run = message.state.run;
      if (fresh) {
        points = [];
        for (const which of Object.keys(pictures)) delete pictures[which];
      }
      points.length = message.from;
      points.push(...message.points);
      if (message.state.suggested !== state.suggested && message.state.suggested) [order.name, typed, taken.value] = [message.state.suggested, false, false];
      if (["forging", "installing", "done", "failed"].includes(message.state.phase) && !typed && message.state.name) order.name = message.state.name;
      Object.assign(state, message.state);
      for (const one of message.pictures ?? []) pictures[one.which] = one;
      nextTick(draw);
    };
    const draw = () => {
      if (curve.value) paintCurve(curve.value, points, state.steps);
      if (outline.value) paintOutline(outline.value, state.outline);
      if (style.value && pictures.style) paintPicture(style.value, pictures.style);
      if (sound.value && pictures.sound) paintPicture(sound.value, pictures.sound);
    };
    const connect = () => {
      socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/forge/live`);
      socket.onmessage = (event) => {
        attempt = 0;
        hear(JSON.parse(event.data));
      };
      socket.onclose = () => (timer = setTimeout(connect, RETRY_MS[Math.min(attempt++, RETRY_MS.length - 1)]));
    };
    const watcher = new ResizeObserver(() => draw());
    const root = ref(null);
    onMounted(() => {
      run = -1;
      connect();
      watcher.observe(root.value);
    });
    onBeforeUnmount(() => {
      clearTimeout(timer);
      watcher.disconnect();
      socket.onclose = null;
      socket.close();
    });

    const ask = async (what, body) => {
      trouble.value = "";
      busy.value = true;
      try {
        const answer = await fetch(`/forge/${what}`, { method: "POST", body: body ?? "" });
        if (!answer.ok) trouble.value = (await answer.text()) || `the forge answered ${answer.status}`;
        return answer.status;
      } catch {
        trouble.value = "the GUI is not there";
        return 0;
      } finally {
        busy.value = false;
      }
    };
    const bring = (one) => {
      over.value = false;
      if (!one || uploading) return;
      trouble.value = "";
      if (one.size > MAX_BYTES) {
        trouble.value = `a recording has at most ${MAX_BYTES >> 20} MiB`;
        return;
      }
      // fetch does not tell how far it is.
      uploading = new XMLHttpRequest();
      uploading.open("POST", `/forge/style?name=${encodeURIComponent(one.name.slice(-120))}`);
      uploading.upload.onprogress = (event) => (sent.value = event.total ? event.loaded / event.total : 0);
      uploading.onloadend = () => {
        if (uploading.status !== 204) trouble.value = uploading.responseText || "the recording did not arrive";
        uploading = null;
        sent.value = 0;
        if (file.value) file.value.value = "";
      };
      uploading.send(one);
    };
    const start = async (replace) => {
      taken.value = false;
      const status = await ask("start", JSON.stringify({ ...order, replace }));
      taken.value = status === 409;
    };
    watch(() => order.name, () => (taken.value = false));

    const works = computed(() => ["forging", "installing"].includes(state.phase));
    const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
    return {
      KINDS, root, file, outline, curve, style, sound, state, order, pictures, trouble, taken, over, sent, busy, works, clock, ask, bring, start,
      type: () => (typed = true),
      dropped: (event) => bring(event.dataTransfer.files[0]),
      left: computed(() => (state.step ? (state.spent / state.step) * Math.max(0, state.steps - state.step) : 0)),
      share: computed(() => (state.steps ? Math.min(1, state.step / state.steps) : 0)),
      holds: computed(() => !["empty", "taking"].includes(state.phase)),
    };
  },
  template: `
<div class="hearth" ref="root" :data-phase="state.phase">
  <section class="panel" aria-label="What to forge from">
    <h2>{{ works ? state.name : state.phase === "done" ? state.name + " is ready" : "A sound to play with" }}</h2>
    <div v-if="state.phase === 'done'" class="ready" role="status">
      <button type="button" class="strike play-it" :disabled="busy" @click="ask('play')">Play {{ state.name }}</button>
      <ul v-if="state.notices.length"><li v-for="one in state.notices" :key="one">{{ one }}</li></ul>
    </div>
    <template v-if="!works">
      <button type="button" class="drop" :class="{ over, held: holds }" :disabled="state.phase === 'taking'" aria-label="Choose or drop a recording" @click="file.click()" @dragover.prevent="over = true" @dragleave="over = false" @drop.prevent="dropped">
        <template v-if="holds">
          <strong>{{ state.title }}</strong>
          <canvas ref="outline" class="outline" aria-hidden="true"></canvas>
          <span>{{ state.seconds.toFixed(1) }} s, {{ state.level.toFixed(0).replace("-", "−") }} dB · drop another one to replace it</span>
        </template>
        <template v-else>
          <strong>{{ state.phase === "taking" || sent ? "Taking it in" : "Choose or drop a recording" }}</strong>
          <span>1 to 300 s of a cello, a choir, rain: wav, flac, ogg, mp3, aiff</span>
        </template>
      </button>
      <input ref="file" type="file" class="unseen" tabindex="-1" aria-hidden="true" :accept="KINDS" @change="bring(file.files[0])"/>
      <div v-if="sent" class="bar" role="progressbar" :aria-valuenow="Math.round(100 * sent)"><i :style="{ '--share': sent }"></i></div>
      <button type="button" class="wide played" :disabled="busy || state.phase === 'taking'" @click="ask('played')">Take the last 30 s that I played</button>
      <audio v-if="holds" :key="state.run + state.title" controls preload="none" :src="'/forge/style.wav?' + state.run" aria-label="The recording"></audio>
    </template>
    <p v-if="trouble || state.trouble" class="trouble" role="alert">{{ trouble || state.trouble }}</p>
    <form v-if="holds && !works" class="fields" @submit.prevent="start(taken)">
      <label>Name of the preset<input class="entry name" v-model="order.name" maxlength="63" autocomplete="off" autocapitalize="off" spellcheck="false" @input="type"/></label>
      <label>What it keeps
        <span class="either" role="group" aria-label="What it keeps">
          <button type="button" :aria-pressed="order.mode === 'timbre'" @click="order.mode = 'timbre'">my notes</button>
          <button type="button" :aria-pressed="order.mode === 'texture'" @click="order.mode = 'texture'">its texture</button>
        </span></label>
      <label>How long it learns
        <span class="either" role="group" aria-label="How long it learns">
          <button v-for="quality in ['quick', 'good', 'best']" :key="quality" type="button" :aria-pressed="order.quality === quality" @click="order.quality = quality">{{ quality }}</button>
        </span></label>
      <button class="strike" :class="{ again: taken }" :disabled="busy || !order.name">{{ taken ? "Replace " + order.name : "Forge" }}</button>
    </form>
    <div v-if="works" class="heat" aria-live="polite">
      <div class="line"><span>{{ state.doing }}</span><b v-if="state.step && state.doing === 'learning'">{{ Math.round(100 * share) }} %</b></div>
      <div class="bar" :class="{ waits: !state.step }" role="progressbar" :aria-valuenow="Math.round(100 * share)" aria-label="How far it is"><i :style="{ '--share': share }"></i></div>
      <p>{{ state.step ? "step " + state.step + " of " + state.steps + ", about " + clock(left) + " to go" : "the recording and the guitar are heard first" }}{{ state.local ? "; at the lowest priority: the sound goes first" : "" }}</p>
      <div class="pairs">
        <button type="button" class="wide" :disabled="!state.step || state.phase !== 'forging'" @click="ask('finish')">Good enough</button>
        <button type="button" class="wide danger" @click="ask('cancel')">Cancel</button>
      </div>
    </div>
  </section>
  <section v-if="works || pictures.style" class="panel" aria-label="How it goes">
    <figure><figcaption>The recording<small v-if="pictures.style">{{ pictures.style.seconds.toFixed(1) }} s</small></figcaption>
      <canvas ref="style" class="picture" role="img" aria-label="Spectrogram of the recording"></canvas></figure>
    <figure><figcaption>The guitar played with it<small>{{ pictures.sound ? "after " + pictures.sound.step + " steps" : "not heard yet" }}</small></figcaption>
      <canvas ref="sound" class="picture" role="img" aria-label="Spectrogram of what it plays by now"></canvas></figure>
    <figure><figcaption><span><span class="key ember">distance in style</span> <span class="key" style="color: var(--gold)">error in level</span></span><small>1 = an equaliser alone</small></figcaption>
      <canvas ref="curve" class="curve" role="img" aria-label="How the distance falls"></canvas></figure>
  </section>
</div>`,
};
