// Asks before something is cut off or costs, and hands what is saved to the server.

import { element } from "./dom.js";

/** A dialog with a list of sentences. Resolves to whether the first button was pressed. */
export function ask(root, title, sentences, yes) {
  return new Promise((resolve) => {
    const close = (value) => () => dialog.close(value);
    const closed = () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    };
    const dialog = element(
      "dialog",
      { class: "v-dialog", "aria-labelledby": "v-dialog-title", close: closed },
      element("h2", { id: "v-dialog-title" }, title),
      ...sentences.map((words) => element("p", {}, words)),
      element(
        "div",
        { class: "v-row" },
        element("button", { type: "button", class: "v-main", "data-answer": "yes", click: close("yes") }, yes),
        element("button", { type: "button", "data-answer": "no", autofocus: true, click: close("no") }, "Cancel"),
      ),
    );
    root.append(dialog);
    dialog.showModal();
  });
}

/** {status, content}: what the server answers, or status 0 if there is none. */
async function send(path, options) {
  try {
    const answer = await fetch(path, options);
    return { status: answer.status, content: await answer.json() };
  } catch {
    return { status: 0, content: { error: "The server does not answer. Is scripts/adjust.py still running?" } };
  }
}

export function save(part, value, version) {
  const body = JSON.stringify({ part, value, version });
  return send("save", { method: "POST", headers: { "Content-Type": "application/json" }, body });
}

export function readOther(name) {
  return send(`other/${encodeURIComponent(name)}`);
}
