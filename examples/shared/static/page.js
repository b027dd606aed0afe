// Functions that the scripts of all pages share.

export const byId = (id) => document.getElementById(id);

/** Makes an element. Data from the server only becomes text in it: no script writes markup. */
export function element(tag, classes = "", text = "") {
  const made = document.createElement(tag);
  made.className = classes;
  made.textContent = text;
  return made;
}
