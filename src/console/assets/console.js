// Keeps pages up to date. Every page works without this file.
"use strict";

(() => {
  const UNITS = [[31536000, "year"], [86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

  function relative(seconds) {
    const span = Math.abs(seconds);
    if (span < 10) return seconds >= 0 ? "just now" : "now";
    const [size, unit] = UNITS.find(([size]) => span >= size);
    const count = Math.floor(span / size);
    const text = `${count} ${unit}${count === 1 ? "" : "s"}`;
    return seconds >= 0 ? `${text} ago` : `in ${text}`;
  }

  function updateTimes() {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const text = relative((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // Parts of a page that say how often they are to be loaded again. A hidden page waits until it is seen.
  const loaded = new WeakMap();
  function refresh() {
    if (document.hidden || document.querySelector("dialog[open]")) return;
    const now = Date.now();
    for (const part of document.querySelectorAll("[data-refresh]")) {
      const since = loaded.get(part) ?? loaded.set(part, now).get(part);
      if (now - since >= Number(part.dataset.refresh) * 1000) {
        loaded.set(part, now);
        part.dispatchEvent(new Event("refresh"));
      }
    }
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 2000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button).catch(() => { button.textContent = "Select the text and copy it"; });
  });

  // A box that checks all others of its form.
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-check-all]")) return;
    for (const box of event.target.form.querySelectorAll("input[type=checkbox][name]")) box.checked = event.target.checked;
  });

  // A page with a secret leaves nothing behind, also not in the browser's cache of pages.
  addEventListener("pagehide", () => {
    for (const secret of document.querySelectorAll("[data-secret]")) {
      secret.textContent = "";
      secret.value = "";
    }
  });

  // The job of the page has ended: its actions and its result are other ones now.
  document.addEventListener("done", (event) => {
    if (event.target.matches("[data-job-live]")) location.reload();
  });

  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  document.addEventListener("htmx:after:swap", updateTimes);
  setInterval(() => { refresh(); if (!document.hidden) updateTimes(); }, 1000);
})();
