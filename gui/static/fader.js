// A long, thick, horizontal fader: for what one moves most, with a thumb.
import { computed } from "vue";
import { follow } from "./hand.js";
import { live, move, value } from "./live.js";
import { sheet } from "./sheet.js";
import { label, place, shown, unplace, words } from "./units.js";

export const Fader = {
  props: { address: String, name: String, colour: String },
  setup(props) {
    const node = computed(() => live.tree[props.address] ?? { range: [0, 1] });
    const now = computed(() => Number(value(props.address, 0)));
    const share = computed(() => place(node.value, now.value));
    const set = (to) => move(props.address, to);
    const reset = () => node.value.default !== undefined && set(node.value.default);
    const name = computed(() => label(props.name ?? props.address.split("/").pop()));
    const down = (event) => {
      event.currentTarget.focus({ preventScroll: true });
      const box = event.currentTarget.getBoundingClientRect();
      let from = share.value;
      let last = event.clientX;
      follow(event, {
        drag: (_, moved) => {
          const far = Math.abs(moved.clientY - event.clientY) > 90;
          from = Math.min(1, Math.max(0, from + ((moved.clientX - last) / box.width) * (moved.shiftKey ? 0.1 : far ? 0.25 : 1)));
          last = moved.clientX;
          set(unplace(node.value, from));
        },
        tap: (up) => set(unplace(node.value, (up.clientX - box.left) / box.width)),
        twice: reset,
        long: () => sheet.open("control", { address: props.address, title: name.value, reset }),
      });
    };
    const key = (event) => {
      const step = { ArrowUp: 0.01, ArrowRight: 0.01, ArrowDown: -0.01, ArrowLeft: -0.01, PageUp: 0.1, PageDown: -0.1 }[event.key];
      if (step) set(unplace(node.value, share.value + step));
      else if (event.key === "Home") set(node.value.range[0]);
      else if (event.key === "End") set(node.value.range[1]);
      else if (event.key === "Delete" || event.key === "Backspace") reset();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    return { node, now, share, name, down, key, text: computed(() => shown(node.value, now.value)), spoken: computed(() => words(node.value, now.value)) };
  },
  template: `
<div class="fader" role="slider" tabindex="0" :aria-label="name" :aria-valuemin="node.range?.[0]" :aria-valuemax="node.range?.[1]"
  :aria-valuenow="now" :aria-valuetext="spoken" :data-address="address" :title="node.text"
  :style="{ '--share': share, '--own': colour ?? 'var(--ember)' }" @pointerdown="down" @keydown="key" @contextmenu.prevent>
  <i></i><span>{{ name }}</span><b>{{ text[0] }}<small>{{ text[1] }}</small></b>
</div>`,
};
