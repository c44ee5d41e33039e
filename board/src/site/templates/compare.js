// Two modules on the same items: paired differences with normal 95 % intervals. Figures come from scripts beside this
// page, so that it works from a folder.
"use strict";
(() => {
  const tasks = window.loreTasks;
  const models = {};
  window.loreModel = (id, values) => { models[id] = values; };
  const pick = { a: document.getElementById("a"), b: document.getElementById("b") };
  const result = document.getElementById("result");

  const load = (id) => new Promise((done, failed) => {
    if (models[id]) return done();
    const script = document.createElement("script");
    script.src = `data/${id}.js`;
    script.onload = () => done();
    script.onerror = () => failed(new Error(`data/${id}.js is missing`));
    document.head.append(script);
  });

  // A ratio of sums and its standard error (Cochran 1977, section 2.11).
  const ratio = (tops, bottoms) => {
    const n = tops.length;
    const sum = (list) => list.reduce((total, x) => total + x, 0);
    const bottom = sum(bottoms);
    const value = sum(tops) / bottom;
    const squares = tops.reduce((total, x, i) => total + (x - value * bottoms[i]) ** 2, 0);
    return { value, error: n > 1 ? Math.sqrt((squares * n) / (n - 1)) / bottom : Infinity };
  };
  const points = (x, digits = 1) => `${x < 0 ? "−" : "+"}${Math.abs(100 * x).toFixed(digits)}`;
  const interval = (found) => `${points(found.value - 1.96 * found.error)} … ${points(found.value + 1.96 * found.error)}`;
  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  const show = async () => {
    const [a, b] = [pick.a.value, pick.b.value];
    history.replaceState(null, "", `#${a},${b}`);
    try {
      await Promise.all([load(a), load(b)]);
    } catch (error) {
      result.replaceChildren(element("p", error.message));
      return;
    }
    if (pick.a.value !== a || pick.b.value !== b) return;
    const name = { a: pick.a.selectedOptions[0].textContent, b: pick.b.selectedOptions[0].textContent };
    const found = tasks.map((task, t) => {
      const [one, two] = [models[a][t], models[b][t]];
      const weights = task.weights || one.map(() => 1);
      const figure = (values) => (task.sign * ratio(values, weights).value * (task.percent ? 100 : 1)).toFixed(task.percent ? 1 : 3);
      const difference = ratio(two.map((x, i) => (x - one[i]) / task.scale), weights);
      const won = [one.filter((x, i) => x > two[i]).length, two.filter((x, i) => x > one[i]).length];
      return { name: task.name, one: figure(one), two: figure(two), difference, won };
    });
    const mean = {
      value: found.reduce((total, task) => total + task.difference.value, 0) / found.length,
      error: Math.sqrt(found.reduce((total, task) => total + task.difference.error ** 2, 0)) / found.length,
    };
    const table = element("table");
    table.append(element("caption", `Percentage points; positive is better for ${name.b}. Items found in a model’s training text count as if the base had answered them.`));
    const head = table.createTHead().insertRow();
    for (const [title, number] of [["Task", 0], [name.a, 1], [name.b, 1], ["Difference", 1], ["95 % interval", 1], ["Items won", 1]]) {
      head.append(element("th", title, number ? { scope: "col", class: "n" } : { scope: "col" }));
    }
    const body = table.createTBody();
    for (const task of found) {
      const row = body.insertRow();
      row.append(element("th", task.name, { scope: "row" }));
      for (const text of [task.one, task.two, points(task.difference.value), interval(task.difference), `${task.won[0]} / ${task.won[1]}`]) {
        row.append(element("td", text, { class: "n" }));
      }
    }
    const scroll = element("div", undefined, { class: "scroll", role: "region", tabindex: "0", "aria-label": "Comparison by task" });
    scroll.append(table);
    const clear = mean.value - 1.96 * mean.error > 0 || mean.value + 1.96 * mean.error < 0;
    const verdict = element("p", `Mean of all tasks: ${points(mean.value)} points (${interval(mean)}). ` + (clear
      ? "Seen alone, these two differ; the ranking corrects for all pairs."
      : "These two cannot be told apart."), { class: "verdict", id: "verdict" });
    result.replaceChildren(verdict, scroll);
  };

  const [a, b] = decodeURIComponent(location.hash.slice(1)).split(",");
  const has = (id) => id && Array.from(pick.a.options).some((option) => option.value === id);
  if (has(a)) pick.a.value = a;
  if (has(b)) pick.b.value = b;
  else if (pick.b.options.length > 1) pick.b.selectedIndex = pick.a.selectedIndex === 0 ? 1 : 0;
  pick.a.addEventListener("change", show);
  pick.b.addEventListener("change", show);
  document.getElementById("choose").hidden = false;
  show();
})();
