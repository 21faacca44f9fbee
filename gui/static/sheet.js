// The one sheet that slides over the page: which one is open, and with what.
import { reactive } from "vue";

export const sheet = reactive({
  name: "",
  given: {},
  open(name, given = {}) {
    this.back = document.activeElement;
    this.name = name;
    this.given = given;
  },
  close() {
    this.name = "";
    this.given = {};
    this.back?.focus?.({ preventScroll: true });
  },
});
