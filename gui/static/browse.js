// Lists that are searched: presets with tags, set lists, captures; and what is done with presets.
import { computed, onMounted, ref, watch } from "vue";
import { Icon } from "./icons.js";
import { ask, has, live, order, slots, toast, value, values } from "./live.js";
import { sheet } from "./sheet.js";
import { label } from "./units.js";

export const presets = ref([]);
export const captures = ref([]);

async function listed(what) {
  try {
    const answer = await fetch(`/host/${what}`);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

export async function readPresets() {
  const found = await listed("presets");
  const names = values["/duende/preset/list"] ?? [];
  presets.value = found ?? names.map((name) => ({ name, own: false, tags: [], plays: [], description: "" }));
}

export async function readCaptures() {
  captures.value = (await listed("captures")) ?? [];
}

export const load = (name) => order("preset/load", name);

export function matches(one, text) {
  const all = [one.name, one.description, one.author, ...(one.tags ?? []), ...(one.plays ?? [])].join(" ").toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

// Send a file to the host, which checks it; the host's own line where it refuses.
export async function install(file, force = false) {
  const send = () => fetch(`/host/presets?force=${force ? 1 : 0}`, { method: "POST", body: file });
  let answer = null;
  try {
    answer = await send();
  } catch {
    toast("the upload broke off", "bad");
    return;
  }
  const text = (await answer.text()).trim();
  if (answer.status === 409 && !force) {
    sheet.open("sure", { text, yes: "Replace it", then: () => install(file, true) });
  } else if (answer.ok) {
    toast(`installed ${text}`);
    readPresets();
  } else {
    toast(text || `refused (${answer.status})`, "bad");
  }
}

export const Browse = {
  components: { Icon },
  setup() {
    const tab = ref("presets");
    const text = ref("");
    const tag = ref("");
    const file = ref(null);
    const tags = computed(() => [...new Set(presets.value.flatMap((one) => one.tags ?? []))].sort());
    const shown = computed(() =>
      presets.value.filter((one) => matches(one, text.value) && (!tag.value || one.tags?.includes(tag.value))),
    );
    const amps = computed(() =>
      captures.value.filter((one) =>
        [one.name, one.architecture, ...Object.values(one.tags ?? {})].join(" ").toLowerCase().includes(text.value.toLowerCase()),
      ),
    );
    const current = computed(() => value("preset/current", ""));
    const lists = computed(() => values["/duende/setlist/list"] ?? []);
    const followed = computed(() => value("setlist/current", ""));
    const follow = (name) => (name ? order("setlist/load", name) : order("setlist/leave"));
    const chosen = (event) => {
      const [given] = event.target.files;
      if (given) install(given);
      event.target.value = "";
    };
    const dropped = (event) => {
      const [given] = event.dataTransfer.files;
      if (given) install(given);
    };
    onMounted(() => {
      readPresets();
      readCaptures();
    });
    watch(() => [live.up, value("preset/revision", 0), (values["/duende/preset/list"] ?? []).join("|")], () => live.up && readPresets());
    watch(() => live.up, (up) => up && readCaptures());
    return { tab, text, tag, tags, shown, amps, current, lists, followed, follow, load, chosen, dropped, file, sheet, has, label, order, slots };
  },
  template: `
<section class="browse" aria-label="Presets" @dragover.prevent @drop.prevent="dropped">
  <div class="bar">
    <div class="tabs" role="tablist">
      <button type="button" role="tab" :aria-selected="tab === 'presets'" @click="tab = 'presets'">Presets</button>
      <button type="button" role="tab" :aria-selected="tab === 'captures'" @click="tab = 'captures'">Captures</button>
    </div>
    <label class="search"><Icon name="search"/><input v-model="text" type="search" :placeholder="'Search ' + tab" :aria-label="'Search ' + tab" @keydown.stop></label>
    <template v-if="tab === 'presets'">
      <button class="wide" type="button" @click="sheet.open('save', { name: current })"><Icon name="save"/>Save</button>
      <button class="wide" type="button" @click="file.click()"><Icon name="upload"/>Install</button>
      <input ref="file" class="unseen" type="file" accept=".duende" aria-label="Preset pack to install" tabindex="-1" @change="chosen">
    </template>
  </div>
  <template v-if="tab === 'presets'">
    <div v-if="tags.length || lists.length" class="tags">
      <label v-if="lists.length" class="choose">Set list
        <select :value="followed" aria-label="Set list" @change="follow($event.target.value)"><option value="">all presets</option><option v-for="name in lists" :key="name">{{ name }}</option></select>
      </label>
      <button v-for="one in tags" :key="one" type="button" :aria-pressed="tag === one" @click="tag = tag === one ? '' : one">{{ one }}</button>
    </div>
    <ul class="rows">
      <li v-for="one in shown" :key="one.name" :class="{ here: one.name === current, bad: one.trouble }">
        <button class="row" type="button" :aria-current="one.name === current" @click="load(one.name)">
          <strong>{{ one.name }}</strong>
          <small v-if="one.trouble">{{ one.trouble }}</small>
          <small v-else>{{ one.description || (one.plays ?? []).join(" → ") }}</small>
          <span class="own" v-if="one.own">yours</span>
          <span v-for="word in one.tags" :key="word" class="tag">{{ word }}</span>
        </button>
        <button class="plain" type="button" :aria-label="'More for ' + one.name" @click="sheet.open('preset', { one })"><Icon name="more"/></button>
      </li>
    </ul>
    <p v-if="!shown.length" class="nothing">Nothing is called that.</p>
  </template>
  <template v-else>
    <ul class="rows">
      <li v-for="one in amps" :key="one.name" :class="{ bad: one.trouble }">
        <button class="row" type="button" :disabled="!!one.trouble" @click="sheet.open('capture', { one })">
          <strong>{{ label(one.name) }}</strong>
          <small v-if="one.trouble">{{ one.trouble }}</small>
          <small v-else>{{ one.architecture }} · {{ one.sample_rate / 1000 }} kHz<template v-if="one.loudness_db != null"> · {{ one.loudness_db.toFixed(1) }} dB</template></small>
          <span v-for="(word, key) in one.tags" :key="key" class="tag">{{ word }}</span>
        </button>
      </li>
    </ul>
    <p v-if="!amps.length" class="nothing">No captures here yet: <code>duende import FILE</code> brings amps and pedals in.</p>
  </template>
</section>`,
};
