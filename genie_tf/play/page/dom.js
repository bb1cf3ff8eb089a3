// Helpers for elements of the page.

export const byId = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function icon(name) {
  const template = document.createElement("template");
  template.innerHTML = `<svg aria-hidden="true"><use href="#${name}"/></svg>`;
  return template.content.firstChild;
}

export function notify(text) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.classList.remove("fresh");
  requestAnimationFrame(() => notice.classList.add("fresh"));
}
