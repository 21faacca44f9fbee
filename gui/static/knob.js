// A dial for any number of the tree, and what it opens on a long press.
import { computed, nextTick, ref } from "vue";
import { follow } from "./hand.js";
import { live, move, value } from "./live.js";
import { sheet } from "./sheet.js";
import { label, place, shown, typed, unplace, words } from "./units.js";

const START = 135;
const SWEEP = 270;
const RADIUS = 41;

function point(share) {
  const angle = ((START + SWEEP * share) * Math.PI) / 180;
  return [50 + RADIUS * Math.cos(angle), 50 + RADIUS * Math.sin(angle)];
}

function arc(from, to) {
  const [low, high] = from < to ? [from, to] : [to, from];
  const [x0, y0] = point(low);
  const [x1, y1] = point(high);
  return `M${x0.toFixed(2)} ${y0.toFixed(2)}A${RADIUS} ${RADIUS} 0 ${(high - low) * SWEEP > 180 ? 1 : 0} 1 ${x1.toFixed(2)} ${y1.toFixed(2)}`;
}

const TRACK = arc(0, 1);

export const Knob = {
  props: { address: String, name: String, of: String, big: Boolean },
  setup(props) {
    const node = computed(() => live.tree[props.address] ?? { range: [0, 1] });
    const now = computed(() => Number(value(props.address, node.value.range?.[0] ?? 0)));
    const share = computed(() => place(node.value, now.value));
    const zero = computed(() => {
      const [low, high] = node.value.range ?? [0, 1];
      return low < 0 && high > 0 ? place(node.value, 0) : 0;
    });
    const text = computed(() => shown(node.value, now.value));
    const name = computed(() => label(props.name ?? props.address.split("/").pop()));
    const title = computed(() => (props.of ? `${props.of} ${name.value}` : name.value));
    const turned = ref(false);
    const typing = ref(false);
    const entry = ref(null);
    let at = 0;

    const set = (to) => move(props.address, to);
    const turn = (by) => set(unplace(node.value, share.value + by));
    const reset = () => {
      if (node.value.default !== undefined) set(node.value.default);
    };
    const type = async () => {
      typing.value = true;
      await nextTick();
      entry.value?.select();
    };
    const typedIn = (event) => {
      if (!typing.value) return;
      typing.value = false;
      const number = typed(node.value, event.target.value);
      if (number !== null) set(number);
    };
    const down = (event) => {
      event.currentTarget.focus({ preventScroll: true });
      at = share.value;
      turned.value = true;
      follow(event, {
        drag: (by) => {
          at = Math.min(1, Math.max(0, at + by));
          set(unplace(node.value, at));
        },
        twice: reset,
        long: () => sheet.open("control", { address: props.address, title: title.value, type, reset }),
        end: () => (turned.value = false),
      });
    };
    const key = (event) => {
      const steps = { ArrowUp: 0.01, ArrowRight: 0.01, ArrowDown: -0.01, ArrowLeft: -0.01, PageUp: 0.1, PageDown: -0.1 };
      const step = steps[event.key];
      if (step) turn(event.shiftKey ? step / 10 : step);
      else if (event.key === "Home") set(node.value.range[0]);
      else if (event.key === "End") set(node.value.range[1]);
      else if (event.key === "Enter") type();
      else if (event.key === "Delete" || event.key === "Backspace") reset();
      else if (event.key === "F10" && event.shiftKey) sheet.open("control", { address: props.address, title: title.value, type, reset });
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    const wheel = (event) => turn((event.deltaY < 0 ? 0.01 : -0.01) * (event.shiftKey ? 0.1 : 1));
    return {
      node, now, share, text, name, title, turned, typing, entry, down, key, wheel, type, typedIn, TRACK,
      fill: computed(() => arc(zero.value, share.value)),
      tip: computed(() => point(share.value)),
      spoken: computed(() => words(node.value, now.value)),
    };
  },
  template: `
<div class="knob" :class="{ big, turned }" :data-address="address">
  <div class="dial" role="slider" tabindex="0" :aria-label="title" :aria-valuemin="node.range?.[0]"
    :aria-valuemax="node.range?.[1]" :aria-valuenow="now" :aria-valuetext="spoken" :title="node.text"
    @pointerdown="down" @keydown="key" @wheel.prevent="wheel" @contextmenu.prevent>
    <svg viewBox="0 0 100 100" aria-hidden="true">
      <path class="track" :d="TRACK"/>
      <path class="fill" :d="fill"/>
      <circle class="tip" :cx="tip[0]" :cy="tip[1]" r="6.5"/>
    </svg>
    <span v-if="!typing" class="number">{{ text[0] }}<small>{{ text[1] }}</small></span>
  </div>
  <input v-if="typing" ref="entry" class="entry" :value="text[0] + (text[1] ? ' ' + text[1] : '')" :aria-label="title"
    inputmode="text" @keydown.enter.stop="typedIn" @keydown.esc.stop="typing = false" @keydown.stop @blur="typedIn">
  <button class="caption" type="button" tabindex="-1" :aria-label="'Type ' + title" @click="type">{{ name }}</button>
</div>`,
};
