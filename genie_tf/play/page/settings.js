// Controls for the sampling settings.

import { byId, make } from "./dom.js";

// `onChange` is called with all values by name.
export function showSettings(settings, onChange) {
  byId("settings").replaceChildren(...settings.map((setting) => {
    const { name, label, value, choices, least, most, step } = setting;
    const control = choices.length
      ? make("select", { id: name }, ...choices.map((choice) => make("option", { textContent: choice })))
      : make("input", { id: name, type: "range", min: least, max: most, step });
    const output = make("output", { textContent: choices.length ? "" : value });
    control.value = value;
    control[choices.length ? "onchange" : "oninput"] = () => {
      setting.value = choices.length ? control.value : Number(control.value);
      if (!choices.length) output.textContent = control.value;
      onChange(Object.fromEntries(settings.map(({ name, value }) => [name, value])));
    };
    return make("label", { htmlFor: name }, `${label[0].toUpperCase()}${label.slice(1)} `, output, " ", control);
  }));
}
