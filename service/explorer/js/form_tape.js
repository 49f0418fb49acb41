// {kind: "tape", state, layout: [names], answer, row, halted}: numbers in the first cells of a tape with
// which a session begins, so another tape is another session; and the row that makes a step.

import { post } from "./api.js";
import { button, guarded, h } from "./dom.js";

export function tape(model) {
  const { layout = [], answer, row } = model.form;
  const field = h("input", { type: "text", inputmode: "numeric", id: "tape", value: "3 7 1 4 9 2", spellcheck: "false", "aria-describedby": "tape-help" });
  const steps = h("input", { type: "number", min: "1", max: "256", value: "1", id: "tape-steps" });
  const begin = guarded(async () => {
    const made = await post(`/v1/models/${model.name}/sessions`, { version: model.version, state: tapeOf(model, parsed(field.value)) });
    location.hash = `session=${made.id}`;
  });
  return {
    size: model.input.dims[0],
    element: h("div", {}, h("label", { for: "tape" }, "Tape "), field,
      h("p", { class: "quiet", id: "tape-help" }, `${layout.length ? `Its cells: ${layout.join(", ")}. ` : ""}${answer ? `The answer is found in: ${answer}. ` : ""}A session begins with its tape; other tapes are other sessions.`),
      h("div", { class: "buttons" }, button("Begin with this tape", begin, { id: "begin-tape" }), h("label", { class: "inline" }, "Steps ", steps))),
    rows: () => Array.from({ length: Math.max(1, Number(steps.value) || 1) }, () => row),
  };
}

/** Initial tensors: a tape with these numbers in its first cells, each of them certain, the others 0. */
export function tapeOf({ form, state }, values) {
  const [cells, integers] = state.find(({ name }) => name === form.state).dims;
  if (values.length > cells || values.some((value) => value >= integers)) throw new Error(`Expected at most ${cells} numbers of 0 to ${integers - 1}.`);
  const certain = (value) => Array.from({ length: integers }, (_, at) => Number(at === value));
  return { [form.state]: Array.from({ length: cells }, (_, at) => certain(values[at] ?? 0)) };
}

function parsed(text) {
  const words = text.trim().split(/[\s,]+/).filter(Boolean);
  if (!words.length || !words.every((word) => /^\d+$/.test(word))) throw new Error("Expected whole numbers with spaces between them.");
  return words.map(Number);
}
