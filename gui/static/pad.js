// The square in which styles are morphed; with one style or none it plays amount across and mix upwards.
import { computed, ref } from "vue";
import { STYLE_COLOURS } from "./canvas.js";
import { follow } from "./hand.js";
import { live, move, styles, value } from "./live.js";
import { label } from "./units.js";

const STEP = 0.02;
const SPOTS = {
  2: [["left", 0, 0.5], ["right", 1, 0.5]],
  3: [["top left", 0, 0], ["top right", 1, 0], ["bottom", 0.5, 1]],
  4: [["top left", 0, 0], ["top right", 1, 0], ["bottom left", 0, 1], ["bottom right", 1, 1]],
};

// The corners are (0,0), (1,0), (0,1), (1,1), read like a page. Three styles share the lower side, two are left and right.
export function weightsAt(count, x, y) {
  const four = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y];
  if (count === 2) return [1 - x, x];
  return count === 3 ? [four[0], four[1], four[2] + four[3]] : four;
}

export function placeOf(weights) {
  const sum = weights.reduce((all, one) => all + one, 0);
  if (sum < 1e-6) return [0.5, 0.5];
  const [a, b, c = 0, d = 0] = weights;
  if (weights.length === 2) return [b / sum, 0.5];
  if (weights.length === 3) return [a + b > 1e-6 ? b / (a + b) : 0.5, c / sum];
  return [(b + d) / sum, (c + d) / sum];
}

export const Pad = {
  setup() {
    const four = computed(() => styles.value.slice(0, 4));
    const morphs = computed(() => four.value.length >= 2);
    const hand = ref(null);
    let after = 0;
    const place = computed(() => {
      if (hand.value) return hand.value;
      if (!morphs.value) return [value("amount", 1), 1 - value("mix", 1)];
      return placeOf(four.value.map((address) => value(address, 0)));
    });
    const corners = computed(() => {
      if (!morphs.value) return [];
      const names = four.value.map((address) => label(address.split("/").pop()));
      return names.map((name, place) => {
        const [spot, x, y] = SPOTS[names.length][place];
        return { name, spot, x, y, colour: STYLE_COLOURS[place] };
      });
    });
    const weights = computed(() =>
      morphs.value ? weightsAt(four.value.length, ...place.value) : [place.value[0]],
    );
    const go = (x, y) => {
      const now = [Math.min(1, Math.max(0, x)), Math.min(1, Math.max(0, y))];
      hand.value = now;
      clearTimeout(after);
      after = setTimeout(() => (hand.value = null), 400);
      if (morphs.value) {
        move("style/xy", ...now);
      } else {
        move("amount", now[0]);
        move("mix", 1 - now[1]);
      }
    };
    const reset = () => {
      if (!morphs.value) {
        go(live.tree["/duende/amount"]?.default ?? 1, 1 - (live.tree["/duende/mix"]?.default ?? 1));
        return;
      }
      const defaults = four.value.map((address) => live.tree[address]?.default);
      go(...(defaults.some((one) => one === undefined) ? [0.5, 0.5] : placeOf(defaults)));
    };
    const down = (event) => {
      const box = event.currentTarget.getBoundingClientRect();
      const inset = parseFloat(getComputedStyle(event.currentTarget).getPropertyValue("--inset"));
      event.currentTarget.focus({ preventScroll: true });
      follow(event, {
        at: (now) => go(
          (now.clientX - box.left - inset) / (box.width - 2 * inset),
          (now.clientY - box.top - inset) / (box.height - 2 * inset),
        ),
        twice: reset,
      });
    };
    const key = (event) => {
      const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (by) go(place.value[0] + by[0] * STEP, place.value[1] + by[1] * STEP);
      else if (event.key === "Delete" || event.key === "Backspace") reset();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    const percent = (share) => `${Math.round(share * 100)} %`;
    const spoken = computed(() =>
      morphs.value
        ? corners.value.map((corner, place) => `${corner.name} ${percent(weights.value[place])}`).join(", ")
        : `amount ${percent(place.value[0])}, mix ${percent(1 - place.value[1])}`,
    );
    const glow = computed(() => {
      const colours = morphs.value ? corners.value.map((corner) => corner.colour) : [STYLE_COLOURS[0]];
      const parts = [0, 0, 0];
      let sum = 0;
      colours.forEach((colour, index) => {
        // To a power: what is strongest tells, and four colours do not make mud.
        const weight = (weights.value[index] ?? 0) ** 3;
        sum += weight;
        [1, 3, 5].forEach((from, channel) => (parts[channel] += weight * parseInt(colour.slice(from, from + 2), 16)));
      });
      return `rgb(${parts.map((part) => Math.round(part / (sum || 1))).join(" ")})`;
    });
    return { corners, place, weights, down, key, morphs, spoken, glow, percent, hand };
  },
  template: `
<div class="pad" :class="{ held: hand }" role="slider" tabindex="0" aria-label="Styles" :aria-valuetext="spoken"
  aria-valuemin="0" aria-valuemax="1" :aria-valuenow="place[0]" :style="{ '--x': place[0], '--y': place[1], '--glow': glow }"
  @pointerdown="down" @keydown="key" @contextmenu.prevent>
  <i class="line across"></i><i class="line up"></i>
  <template v-if="morphs">
    <i v-for="(corner, i) in corners" :key="'at ' + corner.name" class="socket" :style="{ '--own': corner.colour, '--weight': weights[i],
      left: 'calc(var(--inset) + (100% - 2 * var(--inset)) * ' + corner.x + ')', top: 'calc(var(--inset) + (100% - 2 * var(--inset)) * ' + corner.y + ')' }"></i>
    <span v-for="(corner, i) in corners" :key="corner.name" class="corner" :class="corner.spot"
      :style="{ '--own': corner.colour, '--weight': weights[i] }">{{ corner.name }}<b>{{ percent(weights[i]) }}</b></span>
  </template>
  <template v-else>
    <span class="corner bottom left" style="--own: var(--dim); --weight: .2">plain</span>
    <span class="corner top right" style="--own: var(--ember); --weight: .8">full style</span>
    <span class="axis">amount {{ percent(place[0]) }} · mix {{ percent(1 - place[1]) }}</span>
  </template>
  <i class="puck"></i>
</div>`,
};
