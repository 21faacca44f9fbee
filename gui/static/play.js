// The page for playing: the styles, how much of them, and eight snapshots.
import { computed, ref } from "vue";
import { STYLE_COLOURS } from "./canvas.js";
import { Fader } from "./fader.js";
import { follow } from "./hand.js";
import { Knob } from "./knob.js";
import { ask, has, order, slots, styles, toast, toggle, value, values } from "./live.js";
import { Pad } from "./pad.js";

export const recalled = ref(0);

export async function recall(number) {
  try {
    await ask("snapshot/recall", number);
    recalled.value = number;
  } catch (error) {
    const empty = values["/duende/snapshot/stored"]?.includes(number) === false;
    toast(empty ? `snapshot ${number} is empty: hold it to store` : error.message, empty ? "note" : "bad");
  }
}

export async function store(number) {
  if (await order("snapshot/store", number)) {
    recalled.value = number;
    toast(`stored in snapshot ${number}`);
  }
}

const Snapshots = {
  setup() {
    const stored = computed(() => values["/duende/snapshot/stored"]);
    const down = (event, number) => follow(event, { tap: () => recall(number), long: () => store(number) });
    const key = (event, number) => {
      if (event.key !== "Enter") return;
      if (event.shiftKey) store(number);
      else recall(number);
    };
    return { stored, recalled, down, key };
  },
  template: `
<div class="snapshots" role="group" aria-label="Snapshots">
  <button v-for="number in 8" :key="number" type="button" :class="{ full: !stored || stored.includes(number), here: recalled === number }"
    :aria-label="'Snapshot ' + number + (stored && !stored.includes(number) ? ', empty' : '') + ', hold to store'"
    :aria-keyshortcuts="String(number)" @pointerdown="down($event, number)" @keydown="key($event, number)" @contextmenu.prevent>{{ number }}</button>
</div>`,
};

const Rig = {
  setup() {
    const shown = computed(() =>
      slots.value.map((number) => ({
        number,
        name: value(`slot/${number}/name`, ""),
        kind: value(`slot/${number}/kind`, "style"),
        off: value(`slot/${number}/bypass`, 0),
      })),
    );
    return { shown, toggle };
  },
  template: `
<div class="rig" role="group" aria-label="Slots on and off">
  <button v-for="slot in shown" :key="slot.number" type="button" :class="slot.kind" :aria-pressed="!slot.off"
    :aria-label="'Slot ' + slot.number + ', ' + slot.name" @click="toggle('slot/' + slot.number + '/bypass')"><i></i>{{ slot.name }}</button>
  <p v-if="!shown.length">The chain is empty: the guitar goes straight through.</p>
</div>`,
};

export const Play = {
  components: { Fader, Knob, Pad, Rig, Snapshots },
  setup() {
    const more = computed(() => styles.value.slice(4));
    return { more, has, STYLE_COLOURS };
  },
  template: `
<section class="play" aria-label="Play">
  <Pad/>
  <div class="hands">
    <Fader address="/duende/amount"/>
    <Fader address="/duende/mix" colour="var(--gold)"/>
    <div v-if="more.length" class="knobs"><Knob v-for="address in more" :key="address" :address="address"/></div>
    <Snapshots/>
    <Rig/>
  </div>
</section>`,
};
