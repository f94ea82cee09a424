// Without this file every page can be read and used; with it, pages stay up to date and obey the keyboard.
"use strict";

(() => {
  const connection = document.getElementById("connection");
  const say = (text, kind) => {
    if (!connection) return;
    connection.textContent = text;
    connection.className = kind;
  };
  document.addEventListener("htmx:sseOpen", () => say("live", "on"));
  document.addEventListener("htmx:sseError", () => say("no connection, retrying", "off"));
  document.addEventListener("htmx:sseClose", () => say("no connection", "off"));
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) window.location.reload();
  });

  // A click on a part that is replaced before the button is up would be lost, so that the part is replaced after it.
  let pressed = false;
  let late = false;
  document.addEventListener("pointerdown", () => { pressed = true; });
  ["pointerup", "pointercancel"].forEach((name) => document.addEventListener(name, () => {
    if (late) setTimeout(() => htmx.trigger("#live", "late"));
    pressed = late = false;
  }));

  // A part of a page that is replaced keeps what the user has marked and opened in it.
  let marked = new Set();
  let opened = new Set();
  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    const selection = window.getSelection();
    if (target.id === "live" && selection && !selection.isCollapsed && target.contains(selection.anchorNode)) {
      event.detail.shouldSwap = false; // the user is copying text
      return;
    }
    if (target.id === "live" && pressed) {
      event.detail.shouldSwap = false;
      late = true;
      return;
    }
    if ([400, 404, 502, 503].includes(event.detail.xhr.status)) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
    marked = new Set([...target.querySelectorAll("input[type=checkbox][value]:checked")].map((box) => box.name + box.value));
    opened = new Set([...target.querySelectorAll("details[open] > summary")].map((each) => each.textContent));
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const root = document.getElementById("live") || event.target;
    root.querySelectorAll("input[type=checkbox][value]").forEach((box) => {
      if (marked.has(box.name + box.value)) box.checked = true;
    });
    root.querySelectorAll("details:not([open]) > summary").forEach((each) => {
      if (opened.has(each.textContent)) each.parentElement.open = true;
    });
  });

  document.addEventListener("change", (event) => {
    const name = event.target.dataset.all;
    if (!name) return;
    document.querySelectorAll(`input[name=${name}]`).forEach((box) => { box.checked = event.target.checked; });
  });

  // A menu closes when the user goes elsewhere.
  document.addEventListener("click", (event) => {
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });

  const pages = { o: "", f: "flows", j: "jobs", b: "batches", w: "workers", l: "log" };
  let going = false;
  const step = (by) => {
    const rows = [...document.querySelectorAll("a.row")];
    const now = rows.indexOf(document.activeElement);
    const next = rows[Math.min(Math.max(now + by, 0), rows.length - 1)];
    if (next) next.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (going && event.key in pages) {
      const project = window.location.pathname.split("/").slice(0, 3).join("/");
      window.location.href = `${project}/${pages[event.key]}`;
    } else if (event.key === "/") {
      const filter = document.getElementById("filter");
      if (filter) {
        event.preventDefault();
        filter.focus();
      }
    } else if (event.key === "j" || event.key === "k") {
      step(event.key === "j" ? 1 : -1);
    } else if (event.key === "x" && document.activeElement.matches("a.row")) {
      const box = document.activeElement.closest("tr").querySelector("input[type=checkbox]");
      if (box) box.checked = !box.checked;
    }
    going = event.key === "g";
  });
})();
