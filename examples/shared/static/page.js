// What the scripts of all pages share.

export const byId = (id) => document.getElementById(id);

/** A new element. What is sent to a page only ever becomes text in it: no script writes markup. */
export function element(tag, classes = "", text = "") {
  const made = document.createElement(tag);
  made.className = classes;
  made.textContent = text;
  return made;
}
