// The chain: a strip for the input, one for each slot, one for the output; all of it follows from the tree.
import { computed, ref } from "vue";
import { Icon } from "./icons.js";
import { Knob } from "./knob.js";
import { globals, live, move, order, parametersOf, slots, slow, toggle, value, values } from "./live.js";
import { sheet } from "./sheet.js";
import { isSwitch, label } from "./units.js";

const KINDS = { style: "style", capture: "capture", cabinet: "cabinet", fx: "effect" };

const Strip = {
  components: { Icon, Knob },
  props: { number: Number, dragged: Boolean },
  emits: ["grip", "shift"],
  setup(props) {
    const head = computed(() => `/duende/slot/${props.number}`);
    const own = computed(() => parametersOf(head.value).filter((address) => !address.endsWith("/bypass")));
    return {
      head, toggle, sheet, live, isSwitch, label, value,
      knobs: computed(() => own.value.filter((address) => !isSwitch(live.tree[address]))),
      switches: computed(() => own.value.filter((address) => isSwitch(live.tree[address]))),
      name: computed(() => value(`${head.value}/name`, "")),
      kind: computed(() => value(`${head.value}/kind`, "style")),
      off: computed(() => !!value(`${head.value}/bypass`, 0)),
      branch: computed(() => value(`${head.value}/branch`, "")),
      delay: computed(() => value(`${head.value}/latency`, 0)),
      time: computed(() => slow.slots[props.number] ?? [0, 0]),
      kinds: KINDS,
    };
  },
  template: `
<article class="strip" :class="[kind, { off, dragged }]" :data-slot="number" :aria-label="'Slot ' + number + ', ' + name">
  <div class="head">
    <button class="grip" type="button" :aria-label="'Move slot ' + number + '; arrow keys move it'"
      @pointerdown="$emit('grip', $event, number)" @keydown.left.prevent.stop="$emit('shift', number, -1)"
      @keydown.right.prevent.stop="$emit('shift', number, 1)" @keydown.up.prevent.stop="$emit('shift', number, -1)"
      @keydown.down.prevent.stop="$emit('shift', number, 1)"><Icon name="grip"/></button>
    <div class="title"><em>{{ number }} · {{ kinds[kind] ?? kind }}<template v-if="branch"> · branch {{ branch }}</template></em><strong>{{ label(name) }}</strong></div>
    <button class="power" type="button" :aria-pressed="!off" :aria-label="'Slot ' + number + ' on'" @click="toggle(head + '/bypass')"><Icon name="power"/></button>
    <button class="plain" type="button" :aria-label="'More for slot ' + number" @click="sheet.open('slot', { number })"><Icon name="more"/></button>
  </div>
  <div class="knobs">
    <Knob v-for="address in knobs" :key="address" :address="address" :of="name"/>
    <button v-for="address in switches" :key="address" class="switch" type="button" :aria-pressed="!!value(address, 0)"
      :aria-label="name + ' ' + label(address.split('/').pop())" @click="toggle(address)">{{ label(address.split("/").pop()) }}</button>
  </div>
  <div class="cost" :title="'takes ' + (100 * time[0]).toFixed(1) + ' % of the time there is, at most ' + (100 * time[1]).toFixed(1) + ' %'">
    <i :style="{ '--mean': Math.min(1, time[0]), '--peak': Math.min(1, time[1]) }"></i>
    <span>{{ (100 * time[0]).toFixed(time[0] < 0.1 ? 1 : 0) }} %</span><span v-if="delay">{{ delay }} samples</span>
  </div>
</article>`,
};

export const Chain = {
  components: { Icon, Knob, Strip },
  setup() {
    const list = ref(null);
    const drag = ref(null);
    // Where each strip stands while one is dragged. Only styles change: a strip that left the document would lose the hand.
    const places = computed(() => {
      const numbers = [...slots.value];
      if (drag.value) {
        const moved = numbers.splice(numbers.indexOf(drag.value.number), 1);
        numbers.splice(drag.value.to - 1, 0, ...moved);
      }
      return Object.fromEntries(numbers.map((number, place) => [number, place + 1]));
    });
    const grip = (event, number) => {
      if (event.button > 0) return;
      const handle = event.currentTarget;
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      drag.value = { number, to: number };
      const moving = (now) => {
        // Which strip the pointer is over decides; strips lie in rows or in a column.
        const under = document.elementFromPoint(now.clientX, now.clientY)?.closest("[data-slot]");
        if (under && list.value.contains(under)) {
          const over = Number(under.dataset.slot);
          if (over !== number) drag.value = { number, to: places.value[over] };
        }
      };
      const ending = (now) => {
        handle.removeEventListener("pointermove", moving);
        handle.removeEventListener("pointerup", ending);
        handle.removeEventListener("pointercancel", ending);
        const { to } = drag.value;
        drag.value = null;
        if (now.type === "pointerup" && to !== number) order(`slot/${number}/move`, to);
      };
      handle.addEventListener("pointermove", moving);
      handle.addEventListener("pointerup", ending);
      handle.addEventListener("pointercancel", ending);
    };
    const shift = (number, by) => {
      const to = number + by;
      if (to >= 1 && to <= slots.value.length) order(`slot/${number}/move`, to);
    };
    const ends = computed(() => globals.value.filter((address) => !isSwitch(live.tree[address])));
    const split = computed(() => slots.value.some((number) => value(`slot/${number}/branch`, "")));
    return {
      list, drag, grip, shift, sheet, live, label, slots, places,
      into: computed(() => ends.value.filter((address) => address.startsWith("/duende/input/"))),
      outOf: computed(() =>
        ends.value.filter((address) => !address.startsWith("/duende/input/") && (split.value || !address.startsWith("/duende/split/"))),
      ),
      tempo: computed(() => (live.tree["/duende/tempo"] ? "/duende/tempo" : "")),
      tap: () => order("tap"),
    };
  },
  template: `
<section class="chain" aria-label="Chain">
  <div ref="list" class="strips" :class="{ dragging: drag }">
    <article class="strip end" aria-label="Input">
      <div class="head"><div class="title"><em>guitar</em><strong>Input</strong></div></div>
      <div class="knobs"><Knob v-for="address in into" :key="address" :address="address" of="input"/></div>
    </article>
    <Strip v-for="number in slots" :key="number" :number="number" :style="{ order: places[number] }" :dragged="drag?.number === number" @grip="grip" @shift="shift"/>
    <button class="add" style="order: 98" type="button" aria-label="Add a slot" @click="sheet.open('add')"><Icon name="plus"/><span>Add</span></button>
    <article class="strip end" style="order: 99" aria-label="Output">
      <div class="head"><div class="title"><em>amplifier</em><strong>Output</strong></div></div>
      <div class="knobs">
        <Knob v-for="address in outOf" :key="address" :address="address" :name="address.replace('/duende/', '').replaceAll('/', ' ')"/>
        <div v-if="tempo" class="tempo"><Knob :address="tempo"/><button class="switch" type="button" @click="tap">Tap</button></div>
      </div>
    </article>
  </div>
</section>`,
};
