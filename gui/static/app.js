// The page: what is always in sight, the views below it, and the bar to go from one to the other.
import { computed, onMounted, ref, watch } from "vue";
import { Browse, readPresets } from "./browse.js";
import { Chain } from "./chain.js";
import { Icon } from "./icons.js";
import { keys } from "./keys.js";
import { connect, live, toasts, value } from "./live.js";
import { Looks } from "./looks.js";
import { Play } from "./play.js";
import { Sheets } from "./sheets.js";
import { Bypass, Top } from "./top.js";
import { Tuner } from "./tuner.js";

const VIEWS = [["play", "Play"], ["chain", "Chain"], ["presets", "Presets"], ["look", "Look"], ["forge", "Forge"]];

export const Shell = {
  components: { Browse, Bypass, Chain, Icon, Looks, Play, Sheets, Top, Tuner },
  props: { forge: Boolean },
  setup(props) {
    const views = VIEWS.filter(([name]) => name !== "forge" || props.forge);
    const names = views.map(([name]) => name);
    const view = ref(names.includes(location.hash.slice(1)) ? location.hash.slice(1) : "play");
    const go = (name) => {
      view.value = name;
      history.replaceState(null, "", `#${name}`);
      window.scrollTo({ top: 0 });
    };
    onMounted(() => {
      connect();
      keys(go, names);
    });
    watch(() => live.up, (up) => up && readPresets());
    return {
      views, view, go, live, toasts,
      tuning: computed(() => live.up && value("tuner", 0)),
      bypassed: computed(() => value("bypass", 0)),
    };
  },
  template: `
<div class="duende" :class="{ away: !live.up, bypassed }" :data-view="view" :data-up="live.up">
  <Top/>
  <main>
    <div v-if="!live.up" class="gone" role="alert"><i></i><div><strong>{{ live.page ? "Looking for the host" : "Looking for the GUI" }}</strong><span>{{ live.trouble }}</span></div></div>
    <Play v-if="view === 'play'"/>
    <Chain v-else-if="view === 'chain'"/>
    <Browse v-else-if="view === 'presets'"/>
    <Looks v-else-if="view === 'look'"/>
    <section v-show="view === 'forge'" class="forge" aria-label="Forge"><slot/></section>
  </main>
  <nav aria-label="Pages">
    <button v-for="[name, title] in views" :key="name" type="button" :class="'to-' + name" :aria-current="view === name ? 'page' : undefined" @click="go(name)"><Icon :name="name"/><span>{{ title }}</span></button>
    <Bypass/>
  </nav>
  <Tuner v-if="tuning"/>
  <Sheets/>
  <div class="toasts" role="status" aria-live="polite"><p v-for="one in toasts" :key="one.key" :class="one.kind">{{ one.text }}</p></div>
</div>`,
};
