"use strict";
// What a project's page does beyond plain HTML: progress without reloading, and the threshold's slider.

const MOST_SHOWN = 24;

function follow(card) {
  const source = new EventSource(card.dataset.events);
  const message = card.querySelector(".lead");
  const bar = card.querySelector("progress");
  source.addEventListener("status", (event) => {
    const status = JSON.parse(event.data);
    message.textContent = status.message;
    if (status.progress) {
      bar.max = status.progress.total;
      bar.value = status.progress.done;
    } else {
      bar.removeAttribute("value"); // it moves without saying how far
    }
  });
  source.addEventListener("done", () => {
    source.close();
    location.reload();
  });
}

function slide(form) {
  const { cases, choices, in_force } = JSON.parse(document.getElementById("cases").textContent);
  const select = form.querySelector("select");
  const slider = form.querySelector("input[type=range]");
  const moved = form.querySelector("[data-moved]");
  const now = choices[in_force];

  function show() {
    const chosen = choices[select.selectedIndex];
    const threshold = chosen.raw_score;
    const changed = cases.filter((one) => one.raw_score > now.raw_score !== one.raw_score > threshold);
    const sides = !changed.length
      ? "No confirmed picture changes sides."
      : changed.length === 1
        ? "One confirmed picture changes sides:"
        : `${changed.length} confirmed pictures change sides:`;
    moved.replaceChildren(...(chosen === now ? [] : [paragraph(consequences(chosen))]), paragraph(sides));
    if (changed.length) moved.append(gallery(changed.slice(0, MOST_SHOWN), threshold));
    if (changed.length > MOST_SHOWN) moved.append(paragraph(`The first ${MOST_SHOWN} are shown.`));
    slider.setAttribute("aria-valuetext", select.selectedOptions[0].textContent);
  }

  function consequences(chosen) {
    const { normals, abnormals } = form.dataset;
    return (
      `With ${+(100 * chosen.alarm_rate).toPrecision(6)}\u00a0%: ${chosen.false_alarms} of ${normals} normal pictures called ` +
      `abnormal (now\u00a0${now.false_alarms}), ${chosen.found} of ${abnormals} abnormal ones found (now\u00a0${now.found}).`
    );
  }

  function paragraph(text) {
    const made = document.createElement("p");
    made.textContent = text;
    return made;
  }

  function gallery(changed, threshold) {
    const list = document.createElement("ul");
    list.className = "strip";
    for (const one of changed) {
      const item = document.createElement("li");
      const picture = new Image();
      picture.loading = "lazy";
      picture.src = `${form.dataset.project}/pictures/${one.task_id}.jpg?kind=plain`;
      const called = one.raw_score > threshold ? "abnormal" : "normal";
      picture.alt = `Task ${one.task_id}`;
      const link = document.createElement("a");
      link.href = `${form.dataset.studio}/projects/${form.dataset.project}/data?task=${one.task_id}`;
      link.append(picture);
      const text = document.createElement("span");
      text.textContent = `${one.confirmed}, would be called ${called}`;
      text.className = one.confirmed === called ? "good" : "bad";
      item.append(link, text);
      list.append(item);
    }
    return list;
  }

  form.querySelector("[data-slider]").hidden = false;
  slider.max = choices.length - 1;
  slider.value = select.selectedIndex;
  slider.setAttribute("aria-valuetext", select.selectedOptions[0].textContent);
  slider.addEventListener("input", () => {
    select.selectedIndex = slider.value;
    show();
  });
  select.addEventListener("change", () => {
    slider.value = select.selectedIndex;
    show();
  });
}

const card = document.querySelector("[data-events]");
if (card) follow(card);
const rule = document.getElementById("rule");
if (rule) slide(rule);
