// Line drawings of 24 by 24, stroked in the colour of the text.

const PATHS = {
  play: "M6 18V6M12 21V3M18 16V8",
  chain: "M3 12h3M18 12h3M6 7h12v10H6zM10 11v2M14 11v2",
  presets: "M4 6h16M4 12h16M4 18h10",
  look: "M2 12h3l2.5-7 4 15 3.5-12 2 4h5",
  forge: "M12 3c1 4 5 5.5 5 10a5 5 0 0 1-10 0c0-2 1-3 2-4 .3 1.6 1 2.4 2 3 .6-3-.4-6 1-9z",
  power: "M12 3v9M6.6 6.8a8 8 0 1 0 10.8 0",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  undo: "M4 9h10a5.5 5.5 0 0 1 0 11H8M8 5L4 9l4 4",
  redo: "M20 9H10a5.5 5.5 0 0 0 0 11h6M16 5l4 4-4 4",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  grip: "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
  tuner: "M12 21V11M8 3v5a4 4 0 0 0 8 0V3",
  record: "M12 12h.01",
  mute: "M4 9v6h4l5 4V5L8 9zM17 9l4 6M21 9l-4 6",
  save: "M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6",
  upload: "M12 16V4M7 9l5-5 5 5M4 20h16",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l5 5",
  reset: "M5 4v5h5M5.5 9a8 8 0 1 1-1 6",
  learn: "M4 8h16v10H4zM8 8v5M12 8v5M16 8v5",
  help: "M9 9a3 3 0 1 1 4.2 2.8c-.8.4-1.2 1-1.2 2.2M12 18h.01",
};

export const Icon = {
  props: { name: String },
  setup: () => ({ PATHS }),
  template: `<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path :d="PATHS[name]"/></svg>`,
};
