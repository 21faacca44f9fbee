// What opens over the page: choices that are not needed at every moment.
import { computed, nextTick, onMounted, ref, watch } from "vue";
import { captures, load, matches, presets, readPresets } from "./browse.js";
import { Icon } from "./icons.js";
import { ask, has, live, order, slots, toast, value, values } from "./live.js";
import { sheet } from "./sheet.js";
import { label, words } from "./units.js";

const close = () => sheet.close();

// Do something, then close; what fails is shown, and the sheet stays.
const done = async (path, ...now) => {
  const answer = await order(path, ...now);
  if (answer) close();
  return answer;
};

const Quick = {
  setup() {
    const names = computed(() => values["/duende/preset/list"] ?? []);
    const lists = computed(() => values["/duende/setlist/list"] ?? []);
    const go = async (name) => {
      if (await load(name)) close();
    };
    return { names, lists, go, order, value };
  },
  template: `
<h2>Presets</h2>
<div v-if="lists.length" class="tags"><button type="button" :aria-pressed="!value('setlist/current', '')" @click="order('setlist/leave')">all presets</button>
  <button v-for="name in lists" :key="name" type="button" :aria-pressed="value('setlist/current', '') === name" @click="order('setlist/load', name)">{{ name }}</button></div>
<div class="grid"><button v-for="(name, i) in names" :key="i" class="tile" type="button" :aria-current="name === value('preset/current', '')" @click="go(name)">{{ name }}</button></div>`,
};

const Control = {
  components: { Icon },
  setup() {
    const { address, title, type, reset } = sheet.given;
    const learning = ref(false);
    const node = live.tree[address] ?? {};
    const bound = computed(() => (values["/duende/midi/map"] ?? []).filter((text) => String(text).split(": ")[0] === address.replace("/duende/", "")));
    const learned = watch(() => values["/duende/midi/learned"], (now) => {
      if (now?.[0] === address) {
        learning.value = false;
        toast(`${title}: ${now[1]}`);
        close();
      }
    });
    const learn = async () => {
      if (await order("midi/learn", address)) learning.value = true;
    };
    const stop = () => {
      if (learning.value) order("midi/learn", "");
      learned();
      close();
    };
    const then = (work) => () => {
      close();
      nextTick(work);
    };
    return {
      address, title, node, bound, learning, learn, stop, words, value, has,
      type: type && then(type), reset: reset && node.default !== undefined && then(reset),
      forget: () => done("midi/forget", address),
    };
  },
  template: `
<h2>{{ title }}<small>{{ words(node, value(address)) }}</small></h2>
<p>{{ node.text }} <code>{{ address }}</code></p>
<p v-for="text in bound" :key="text" class="bound"><Icon name="learn"/>{{ text }}</p>
<div v-if="learning" class="learning" role="status"><i></i>Move a controller or press a pedal …</div>
<div class="choices">
  <button v-if="!learning" type="button" class="first" @click="learn"><Icon name="learn"/>MIDI learn</button>
  <button v-else type="button" @click="stop">Stop learning</button>
  <button v-if="bound.length" type="button" @click="forget">Forget MIDI</button>
  <button v-if="type" type="button" @click="type">Type a value</button>
  <button v-if="reset" type="button" @click="reset">Default, {{ words(node, node.default) }}</button>
</div>`,
};

const SOURCES = [
  ["fx", "Effects", "fx/find", "fx:"],
  ["style", "Styles", "", ""],
  ["capture", "Captures", "capture/find", "capture:"],
  ["cabinet", "Cabinets", "cabinet/find", "cabinet:"],
];

const Add = {
  components: { Icon },
  setup() {
    const number = sheet.given.number;
    const text = ref("");
    const kind = ref(sheet.given.kind ?? "fx");
    const names = ref([]);
    const find = async () => {
      const [, , path] = SOURCES.find(([name]) => name === kind.value);
      if (!path) names.value = presets.value.filter((one) => matches(one, text.value)).map((one) => one.name);
      else if (!has(path)) names.value = [];
      else names.value = (await order(path, text.value, 0)) ?? [];
    };
    watch([text, kind], find);
    onMounted(async () => {
      if (!presets.value.length) await readPresets();
      find();
    });
    const take = (name) => {
      const [, , , head] = SOURCES.find(([one]) => one === kind.value);
      return done(number ? `slot/${number}/load` : "slot/add", head + name);
    };
    return { text, kind, names, take, label, number, SOURCES, value };
  },
  template: `
<h2>{{ number ? "Replace " + label(value("slot/" + number + "/name", "")) : "Add to the chain" }}</h2>
<div class="tabs" role="tablist"><button v-for="[name, title] in SOURCES" :key="name" type="button" role="tab" :aria-selected="kind === name" @click="kind = name">{{ title }}</button></div>
<label class="search"><Icon name="search"/><input v-model="text" type="search" placeholder="Search" aria-label="Search" @keydown.stop></label>
<div class="grid"><button v-for="name in names" :key="name" class="tile" type="button" @click="take(name)">{{ label(name) }}</button></div>
<p v-if="!names.length" class="nothing">Nothing here.</p>`,
};

const Slot = {
  components: { Icon },
  setup() {
    const { number } = sheet.given;
    const head = `slot/${number}`;
    const kind = value(`${head}/kind`, "style");
    return {
      number, head, kind, label, value, slots, done, has,
      replace: () => sheet.open("add", { number, kind }),
      branches: computed(() => live.tree[`/duende/${head}/branch`]?.vals ?? []),
    };
  },
  template: `
<h2>{{ label(value(head + "/name", "")) }}<small>slot {{ number }}</small></h2>
<div v-if="branches.length" class="pick"><span>Stands in</span><span class="pair">
  <button v-for="branch in branches" :key="branch" type="button" :aria-pressed="value(head + '/branch', '') === branch" @click="done(head + '/branch', branch)">{{ branch ? "branch " + branch : "the trunk" }}</button></span></div>
<div class="choices">
  <button type="button" @click="replace">Replace</button>
  <button type="button" :disabled="number === 1" @click="done(head + '/move', number - 1)">Move left</button>
  <button type="button" :disabled="number === slots.length" @click="done(head + '/move', number + 1)">Move right</button>
  <button type="button" class="danger" @click="done(head + '/remove')">Remove</button>
</div>`,
};

const Name = {
  props: { title: String, first: String, yes: String, then: Function },
  setup(props) {
    const name = ref(props.first ?? "");
    const entry = ref(null);
    onMounted(() => entry.value?.select());
    return { name, entry, go: () => name.value.trim() && props.then(name.value.trim()) };
  },
  template: `
<h2>{{ title }}</h2>
<form @submit.prevent="go"><input ref="entry" v-model="name" class="entry" maxlength="64" aria-label="Name" autocomplete="off" @keydown.stop>
<div class="choices"><button class="first" :disabled="!name.trim()">{{ yes }}</button></div></form>`,
};

const Save = {
  components: { Name },
  setup: () => ({
    given: sheet.given,
    then: async (name) => {
      if (await done("preset/save", name)) {
        toast(`saved ${name}`);
        readPresets();
      }
    },
  }),
  template: `<Name title="Save what plays" :first="given.name" yes="Save" :then="then"/><p>Lower-case letters, digits and dashes. The factory's presets stay as they are: yours stands in front of one of the same name.</p>`,
};

const Preset = {
  components: { Icon, Name },
  setup() {
    const { one } = sheet.given;
    const doing = ref("");
    const after = (path, text) => async (name) => {
      if (await done(path, one.name, name)) {
        toast(`${text} ${name}`);
        readPresets();
      }
    };
    const remove = async () => {
      if (await done("preset/delete", one.name)) {
        toast(`deleted ${one.name}`);
        readPresets();
      }
    };
    const describe = async (event) => {
      const form = new FormData(event.target);
      if (await done("preset/describe", one.name, form.get("text"), form.get("tags"))) readPresets();
    };
    return {
      one, doing, has, remove, describe,
      pack: `/host/presets/${encodeURIComponent(one.name)}.duende`,
      picture: one.picture ? `/host/presets/${encodeURIComponent(one.name)}.png` : "",
      duplicate: after("preset/duplicate", "made"),
      rename: after("preset/rename", "renamed to"),
      play: async () => (await load(one.name)) && close(),
    };
  },
  template: `
<Name v-if="doing === 'duplicate'" title="Duplicate as" :first="one.name + '-2'" yes="Duplicate" :then="duplicate"/>
<Name v-else-if="doing === 'rename'" title="Rename to" :first="one.name" yes="Rename" :then="rename"/>
<form v-else-if="doing === 'describe'" @submit.prevent="describe"><h2>Describe {{ one.name }}</h2>
  <label>What it is<input class="entry" name="text" :value="one.description" maxlength="500" @keydown.stop></label>
  <label>Tags, commas between<input class="entry" name="tags" :value="(one.tags ?? []).join(', ')" maxlength="200" @keydown.stop></label>
  <div class="choices"><button class="first">Keep</button></div></form>
<template v-else>
  <h2>{{ one.name }}<small>{{ one.own ? "yours" : "factory" }}<template v-if="one.author"> · {{ one.author }}</template></small></h2>
  <p v-if="one.description">{{ one.description }}</p>
  <img v-if="picture" :src="picture" :alt="'Spectrogram of ' + one.name">
  <div class="choices">
    <button type="button" class="first" @click="play">Play</button>
    <button v-if="has('preset/duplicate')" type="button" @click="doing = 'duplicate'">Duplicate</button>
    <a :href="pack" :download="one.name + '.duende'"><Icon name="download"/>Pack</a>
    <template v-if="one.own">
      <button v-if="has('preset/describe')" type="button" @click="doing = 'describe'">Describe, tags</button>
      <button v-if="has('preset/rename')" type="button" @click="doing = 'rename'">Rename</button>
      <button v-if="has('preset/delete')" type="button" class="danger" @click="remove">Delete</button>
    </template>
  </div>
</template>`,
};

const Capture = {
  setup() {
    const { one } = sheet.given;
    const at = computed(() => slots.value.find((number) => value(`slot/${number}/kind`, "") === "capture"));
    return { one, at, label, value, take: (path) => done(path, `capture:${one.name}`) };
  },
  template: `
<h2>{{ label(one.name) }}<small>{{ one.architecture }}</small></h2>
<dl class="facts"><div v-for="(text, key) in one.tags" :key="key"><dt>{{ key }}</dt><dd>{{ text }}</dd></div><div><dt>licence</dt><dd>{{ one.licence || "not said" }}</dd></div></dl>
<div class="choices">
  <button type="button" class="first" @click="take('slot/add')">Add to the chain</button>
  <button v-if="at" type="button" @click="take('slot/' + at + '/load')">In place of {{ label(value("slot/" + at + "/name", "")) }}</button>
</div>`,
};

const Sure = {
  setup: () => ({ given: sheet.given, close, yes: () => [sheet.given.then, close()][0]() }),
  template: `<h2>{{ given.text }}</h2><div class="choices"><button type="button" class="danger" @click="yes">{{ given.yes }}</button><button type="button" @click="close">No</button></div>`,
};

const KEYS = [
  ["Space", "bypass"], ["← →", "previous and next preset"], ["1 – 8", "snapshots; Shift stores"], ["T", "tuner"], ["M", "mute"],
  ["R", "record"], ["Z, Y", "undo, redo"], ["A, B", "compare"], ["F1 – F5", "pages"], ["Delete", "default of a control"], ["Shift", "fine"],
];
const Help = {
  setup: () => ({ KEYS }),
  template: `<h2>Keys</h2><dl class="facts keys"><div v-for="[key, text] in KEYS" :key="key"><dt><kbd>{{ key }}</kbd></dt><dd>{{ text }}</dd></div></dl>
<p>On any control: double tap for its default, hold for MIDI learn, tap its name to type a value, move away sideways to be fine.</p>`,
};

const ALL = { quick: Quick, control: Control, add: Add, slot: Slot, save: Save, preset: Preset, capture: Capture, sure: Sure, help: Help };

export const Sheets = {
  components: { Icon },
  setup() {
    const box = ref(null);
    watch(() => sheet.name, async (name) => {
      await nextTick();
      if (name) (box.value?.querySelector("input, .first, button:not(.shut)") ?? box.value)?.focus({ preventScroll: true });
    });
    // Focus stays inside while it is open.
    const keep = (event) => {
      if (event.key === "Escape") return close();
      if (event.key !== "Tab") return undefined;
      const all = [...box.value.querySelectorAll("button:not(:disabled), input, a, select")];
      const [first, last] = [all[0], all[all.length - 1]];
      if (event.shiftKey && document.activeElement === first) last.focus();
      else if (!event.shiftKey && document.activeElement === last) first.focus();
      else return undefined;
      event.preventDefault();
      return undefined;
    };
    return { sheet, close, box, keep, inner: computed(() => ALL[sheet.name]), key: computed(() => `${sheet.name}${sheet.given.number ?? sheet.given.address ?? ""}`) };
  },
  template: `
<Transition name="slide">
  <div v-if="sheet.name" class="veil" @click.self="close" @keydown="keep">
    <div ref="box" class="sheet" role="dialog" aria-modal="true" tabindex="-1" @keydown.stop="keep">
      <component :is="inner" :key="key"/>
      <button class="shut" type="button" aria-label="Close" @click="close"><Icon name="close"/></button>
    </div>
  </div>
</Transition>`,
};
