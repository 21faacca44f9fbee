// The page's one connection: values of the host as they are now, and orders to it.
import { computed, markRaw, reactive, shallowReactive } from "vue";

const PREFIX = "/duende";
const STREAM = /^\/duende\/(meter|status\/(load|histogram)|tuner\/pitch|spectrum\/(input|output)|slot\/\d+\/usage)$/;
const HELD_MS = 400; // after a hand has let go, so long its own value stands against older ones on their way
const ANSWER_MS = 25000;
const RETRY_MS = [200, 500, 1000, 2000];

export const live = reactive({ page: false, up: false, name: "", where: "", trouble: "", tree: markRaw({}) });
export const values = shallowReactive({}); // address -> arguments; whoever reads one is drawn again when it changes
export const streams = {}; // the same for what moves thirty times a second: read in onFrame, drawn by hand
export const slow = reactive({ load: [0, 0, 0], meter: [-120, -120, -120, -120, 0, 0], slots: {} });
export const toasts = reactive([]);

const frames = new Set();
const held = new Map(); // address -> timer
const newer = new Map(); // what the host said of those meanwhile
const waiting = new Map();
const moved = new Map();
const looks = new Map();
let socket = null;
let receipt = 0;
let attempt = 0;
let drawing = 0;
let flushing = 0;

export const at = (path) => (path.startsWith(PREFIX) ? path : `${PREFIX}/${path}`);
export const node = (path) => live.tree[at(path)];
export const value = (path, otherwise) => values[at(path)]?.[0] ?? otherwise;
export const has = (path) => at(path) in live.tree;

export function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/live`);
  socket.onmessage = (event) => hear(JSON.parse(event.data));
  socket.onopen = () => {
    attempt = 0;
    live.page = true;
    tellLooks();
  };
  socket.onclose = () => {
    live.page = live.up = false;
    live.trouble = "the GUI is not there";
    for (const [, one] of waiting) one.no(new Error("the GUI went away"));
    waiting.clear();
    setTimeout(connect, RETRY_MS[Math.min(attempt++, RETRY_MS.length - 1)]);
  };
}

function hear(message) {
  if (message.link) {
    Object.assign(live, message.link);
    live.tree = markRaw(message.tree);
    for (const address of Object.keys(values)) if (!(address in message.all)) delete values[address];
    for (const [address, now] of Object.entries(message.all)) put(address, now);
    frame();
  } else if (message.v) {
    for (const [address, now] of Object.entries(message.v)) put(address, now);
    frame();
  } else if (message.id) {
    const one = waiting.get(message.id);
    waiting.delete(message.id);
    if (one && "ok" in message) one.yes(message.ok);
    else if (one) one.no(new Error(message.no));
  } else if (message.error) {
    toast(message.error, "bad");
  }
}

function put(address, now) {
  if (STREAM.test(address)) {
    streams[address] = now;
    return;
  }
  if (held.has(address)) {
    newer.set(address, now);
    return;
  }
  const before = values[address];
  if (before && before.length === now.length && before.every((one, place) => one === now[place])) return;
  values[address] = now;
}

function frame() {
  if (drawing) return;
  drawing = requestAnimationFrame((now) => {
    drawing = 0;
    for (const draw of frames) draw(now);
  });
}

// A function that draws what streams hold; returns what ends it.
export function onFrame(draw) {
  frames.add(draw);
  return () => frames.delete(draw);
}

// Streams that are only sent while somebody shows them; returns what ends it.
export function look(addresses) {
  const key = Symbol("look");
  looks.set(key, addresses.map(at));
  tellLooks();
  return () => {
    looks.delete(key);
    tellLooks();
  };
}

function tellLooks() {
  if (live.page) post({ look: [...new Set([...looks.values()].flat())] });
}

function post(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

// Move a value: shown at once, sent once per picture however often the hand moves.
export function move(path, ...now) {
  const address = at(path);
  moved.set(address, now);
  if (live.tree[address]?.access === 3) {
    values[address] = now;
    clearTimeout(held.get(address));
    held.set(address, setTimeout(release, HELD_MS, address));
  }
  if (!flushing) flushing = setTimeout(flush, 16);
}

function flush() {
  flushing = 0;
  for (const [address, now] of moved) post({ a: address, v: now });
  moved.clear();
}

function release(address) {
  held.delete(address);
  if (newer.has(address)) put(address, newer.get(address));
  newer.delete(address);
}

// Give an order and wait for what the host says.
export function ask(path, ...now) {
  return new Promise((yes, no) => {
    if (!live.page || !live.up) {
      no(new Error(live.trouble || "the host is not there"));
      return;
    }
    if (flushing) {
      clearTimeout(flushing);
      flush();
    }
    const id = ++receipt;
    const late = setTimeout(() => {
      if (waiting.delete(id)) no(new Error("the host does not answer"));
    }, ANSWER_MS);
    const done = (then) => (answer) => {
      clearTimeout(late);
      then(answer);
    };
    waiting.set(id, { yes: done(yes), no: done(no) });
    post({ a: at(path), v: now, id });
  });
}

// The same for a button: what fails is shown. Returns the answer, or null.
export async function order(path, ...now) {
  try {
    return await ask(path, ...now);
  } catch (error) {
    toast(error.message, "bad");
    return null;
  }
}

export function toast(text, kind = "good") {
  const one = { text, kind, key: Symbol("toast") };
  if (toasts.some((other) => other.text === text)) return;
  toasts.push(one);
  if (toasts.length > 3) toasts.shift();
  setTimeout(() => {
    const place = toasts.findIndex((other) => other.key === one.key);
    if (place >= 0) toasts.splice(place, 1);
  }, kind === "bad" ? 6000 : 2500);
}

export const toggle = (path) => move(path, value(path, 0) ? 0 : 1);

// What the tree says of the chain: how many slots, and which addresses are parameters of one.
export const slots = computed(() => {
  const found = [];
  for (let number = 1; `${PREFIX}/slot/${number}/name` in live.tree; number++) found.push(number);
  return found;
});

export const styles = computed(() => {
  const head = `${PREFIX}/style/`;
  return Object.keys(live.tree).filter((address) => address.startsWith(head) && address !== `${head}xy`);
});

export function parametersOf(head) {
  const start = `${at(head)}/`;
  return Object.keys(live.tree).filter(
    (address) => address.startsWith(start) && live.tree[address].tags?.includes("parameter"),
  );
}

export const globals = computed(() =>
  Object.keys(live.tree).filter(
    (address) => live.tree[address].tags?.includes("parameter") && !address.startsWith(`${PREFIX}/slot/`),
  ),
);

setInterval(() => {
  slow.load = streams[at("status/load")] ?? slow.load;
  slow.meter = streams[at("meter")] ?? slow.meter;
  slow.slots = Object.fromEntries(slots.value.map((number) => [number, streams[at(`slot/${number}/usage`)] ?? [0, 0]]));
}, 250);
