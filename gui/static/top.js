// What is always in sight: the preset and how to leave it, levels, load, delay, what went wrong, and the way out.
import { computed } from "vue";
import { Icon } from "./icons.js";
import { has, live, order, slow, toggle, value, values } from "./live.js";
import { Meters } from "./meters.js";
import { sheet } from "./sheet.js";

export const Top = {
  components: { Icon, Meters },
  setup() {
    const list = computed(() => values["/duende/preset/list"] ?? []);
    const current = computed(() => value("preset/current", ""));
    const setList = computed(() => value("setlist/current", ""));
    const place = computed(() => list.value.indexOf(current.value) + 1);
    const load = computed(() => Math.round(100 * slow.load[1]));
    const delay = computed(() => {
      const [own = 0, device = -1] = values["/duende/status/latency"] ?? [];
      return own + Math.max(0, device);
    });
    const late = computed(() => value("status/late", 0));
    const lost = computed(() => (values["/duende/status/xruns"] ?? [0, 0]).reduce((all, one) => all + one, 0));
    const device = computed(() => {
      const [name = "", rate = 0, block = 0, silent = 0, trouble = ""] = values["/duende/status/device"] ?? [];
      return { name, rate: rate / 1000, block, silent, trouble };
    });
    const reset = async () => {
      if (has("status/reset") && (late.value || lost.value)) await order("status/reset");
    };
    const step = (way) => order(`preset/${way}`);
    return {
      list, current, setList, place, load, delay, late, lost, device, reset, step, live, order, toggle, sheet, has,
      bypass: computed(() => value("bypass", 0)),
      mute: computed(() => value("mute", 0)),
      recording: computed(() => value("record", 0)),
      tuning: computed(() => value("tuner", 0)),
      comparing: computed(() => value("compare", "a")),
      heard: (side) => order("compare", side),
    };
  },
  template: `
<header class="crown" aria-label="Preset and status">
  <div class="status">
    <span class="host" :class="{ up: live.up }" role="status">
      <i class="dot"></i><span>{{ live.up ? (live.name || "duende") : live.page ? "no host" : "no GUI" }}</span>
    </span>
    <span class="device" :class="{ bad: device.trouble || device.silent }" :title="device.trouble">{{ device.trouble ? "no device" : device.silent ? "silent clock" : device.name }}<em v-if="device.rate">{{ device.rate }} kHz<template v-if="device.block"> / {{ device.block }}</template></em></span>
    <span class="chip load" :class="{ warm: load > 60, hot: load > 90 }" :title="'99 % of the blocks took at most ' + load + ' % of their time'"><em>load</em>{{ load }}<small>%</small></span>
    <span class="chip" title="delay of duende and device"><em>delay</em>{{ delay.toFixed(1) }}<small>ms</small></span>
    <button class="chip" type="button" :aria-label="late + ' late blocks, ' + lost + ' xruns; reset'" @click="reset"><em>late</em><b
      :class="{ hot: late }">{{ late }}</b><em class="second">xruns</em><b :class="{ hot: lost }">{{ lost }}</b></button>
  </div>
  <div class="preset">
    <button class="step" type="button" aria-label="Previous preset" @click="step('previous')"><Icon name="previous"/></button>
    <button class="name" type="button" aria-label="Presets and set lists" @click="sheet.open('quick')">
      <strong>{{ current || "–" }}</strong>
      <small>{{ setList ? setList : "all presets" }}<template v-if="place"> · {{ place }} / {{ list.length }}</template></small>
    </button>
    <button class="step" type="button" aria-label="Next preset" @click="step('next')"><Icon name="next"/></button>
  </div>
  <Meters/>
  <div class="tools">
    <button type="button" aria-label="Undo" @click="order('undo')"><Icon name="undo"/></button>
    <button type="button" aria-label="Redo" @click="order('redo')"><Icon name="redo"/></button>
    <span v-if="has('compare')" class="pair" role="group" aria-label="Compare">
      <button v-for="side in ['a', 'b']" :key="side" type="button" :aria-pressed="comparing === side" @click="heard(side)">{{ side.toUpperCase() }}</button>
    </span>
    <button type="button" :aria-pressed="!!tuning" aria-label="Tuner" @click="toggle('tuner')"><Icon name="tuner"/></button>
    <button type="button" class="mute" :aria-pressed="!!mute" aria-label="Mute" @click="toggle('mute')"><Icon name="mute"/></button>
    <button type="button" class="rec" :aria-pressed="!!recording" aria-label="Record" @click="toggle('record')"><Icon name="record"/></button>
  </div>
</header>`,
};

export const Bypass = {
  components: { Icon },
  setup: () => ({ toggle, bypass: computed(() => value("bypass", 0)) }),
  template: `
<button class="bypass" type="button" :aria-pressed="!!bypass" aria-label="Bypass" aria-keyshortcuts="Space" @click="toggle('bypass')">
  <Icon name="power"/><span>{{ bypass ? "Bypassed" : "Playing" }}</span>
</button>`,
};
