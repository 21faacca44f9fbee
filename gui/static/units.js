// Values as people read and type them, and where they lie on a dial.

export const SHARE = (node) => !node.unit && node.range?.[0] === 0 && node.range?.[1] === 1;
const LOG_RATIO = 20;

const isLog = (node) => ["Hz", "ms", "s"].includes(node.unit) && node.range[0] > 0 && node.range[1] / node.range[0] >= LOG_RATIO;

// 0..1 along the dial, and back.
export function place(node, now) {
  const [low, high] = node.range ?? [0, 1];
  const share = isLog(node) ? Math.log(now / low) / Math.log(high / low) : (now - low) / (high - low || 1);
  return Math.min(1, Math.max(0, share || 0));
}

export function unplace(node, share) {
  const [low, high] = node.range ?? [0, 1];
  const kept = Math.min(1, Math.max(0, share));
  const now = isLog(node) ? low * (high / low) ** kept : low + kept * (high - low);
  return whole(node) ? Math.round(now) : now;
}

export const whole = (node) => node.types?.[0] === "i";
export const isSwitch = (node) => whole(node) && node.range?.[0] === 0 && node.range?.[1] === 1;

export function clamp(node, now) {
  const [low, high] = node.range ?? [-Infinity, Infinity];
  const kept = Math.min(high ?? Infinity, Math.max(low ?? -Infinity, now));
  return whole(node) ? Math.round(kept) : kept;
}

// [number, unit]
export function shown(node, now) {
  if (now === undefined || now === null || Number.isNaN(now)) return ["–", ""];
  if (typeof now === "string") return [now, ""];
  const word = (node.text ?? "").match(/(-?\d+(?:\.\d+)?): off/);
  if (word && Math.abs(Number(word[1]) - now) < 1e-6) return ["off", ""];
  if (isSwitch(node)) return [now ? "on" : "off", ""];
  if (SHARE(node)) return [`${Math.round(now * 100)}`, "%"];
  if (node.unit === "Hz" && now >= 1000) return [(now / 1000).toFixed(now >= 10000 ? 1 : 2), "kHz"];
  if (node.unit === "s" && now < 1) return [`${Math.round(now * 1000)}`, "ms"];
  if (node.unit === "dB") return [`${now > 0.05 ? "+" : now < -0.05 ? "−" : ""}${Math.abs(now).toFixed(1)}`, "dB"];
  const digits = whole(node) || Math.abs(now) >= 100 ? 0 : Math.abs(now) >= 10 ? 1 : 2;
  return [now.toFixed(digits).replace("-", "−"), node.unit ?? ""];
}

export const words = (node, now) => shown(node, now).join(" ").trim();

// What somebody typed, in the unit of the value; null where it is no number.
export function typed(node, text) {
  const match = text.trim().replace("−", "-").replace(",", ".").match(/^([+-]?\d*\.?\d+)\s*(%|k|khz|hz|ms|s|db)?/i);
  if (!match) return null;
  const number = Number(match[1]);
  const unit = (match[2] ?? "").toLowerCase();
  if (SHARE(node)) return clamp(node, unit === "%" || Math.abs(number) > 1 ? number / 100 : number);
  if (unit.startsWith("k")) return clamp(node, number * 1000);
  if (node.unit === "s" && unit === "ms") return clamp(node, number / 1000);
  if (node.unit === "ms" && unit === "s") return clamp(node, number * 1000);
  return clamp(node, number);
}

export const label = (name) => name.replaceAll("_", " ").replaceAll("-", " ");
