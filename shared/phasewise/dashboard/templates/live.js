(() => {
  const live = document.getElementById("live");
  if (!live) return;
  const connection = document.getElementById("connection");
  const problem = document.getElementById("problem");
  const filters = document.getElementById("filters");

  // A plot that is there keeps its place, so that it moves on instead of being built again.
  function keepPlots(part, old) {
    const known = new Map(
      [...old.querySelectorAll("[data-figure]")].map((place) => [place.dataset.figure, place]),
    );
    part.querySelectorAll("[data-figure]").forEach((place) => {
      const before = known.get(place.dataset.figure);
      if (before) place.replaceWith(before);
    });
  }

  async function load(unit) {
    const body = unit.querySelector(".body");
    if (!unit.open || body.dataset.version === unit.dataset.version) return;
    const { version } = unit.dataset;
    const answer = await fetch(unit.dataset.source);
    if (!answer.ok) throw new Error(`${unit.dataset.source}: ${answer.status}`);
    const found = await answer.json();
    Object.assign(phasewise.figures, found.figures);
    const fresh = body.cloneNode(false);
    fresh.innerHTML = found.html;
    const opened = body.querySelector("details[open]");
    if (opened) fresh.querySelectorAll("details").forEach((each) => { each.open = true; });
    keepPlots(fresh, body);
    fresh.dataset.version = version;
    body.replaceWith(fresh);
    fresh.querySelectorAll(".js-plotly-plot").forEach(phasewise.draw);
    phasewise.watch(fresh);
  }

  function follow(unit) {
    unit.addEventListener("toggle", () => load(unit).catch(fail));
    load(unit).catch(fail);
  }

  function replace(part, old) {
    if (old.tagName === "DETAILS") {
      part.open = old.open;
      part.querySelector(".body").replaceWith(old.querySelector(".body"));
      const focused = old.querySelector("summary") === document.activeElement;
      old.replaceWith(part);
      if (focused) part.querySelector("summary").focus();
      follow(part);
      return;
    }
    keepPlots(part, old);
    old.replaceWith(part);
    part.querySelectorAll(".js-plotly-plot").forEach(phasewise.draw);
    phasewise.watch(part);
  }

  // Only what differs is touched: what is read, open or focused stays.
  const texts = new Map();
  function show({ html, figures }) {
    const fresh = document.createElement("div");
    fresh.innerHTML = html;
    const changed = Object.keys(figures).filter(
      (key) => JSON.stringify(figures[key]) !== JSON.stringify(phasewise.figures[key]),
    );
    Object.assign(phasewise.figures, figures);
    const now = [...fresh.children];
    const kept = new Set(now.map((part) => part.dataset.part));
    [...live.children].forEach((old) => { if (!kept.has(old.dataset.part)) old.remove(); });
    now.forEach((part, index) => {
      const name = part.dataset.part;
      const text = part.outerHTML;
      const old = [...live.children].find((each) => each.dataset.part === name);
      if (!old) {
        live.insertBefore(part, live.children[index] || null);
        if (part.tagName === "DETAILS") follow(part);
        phasewise.watch(part);
      } else if (texts.get(name) !== text) {
        replace(part, old);
      }
      texts.set(name, text);
    });
    changed.forEach((key) => {
      phasewise.drawn.forEach((place) => {
        if (place.isConnected && place.dataset.figure === key) phasewise.draw(place);
      });
    });
    filter();
  }

  function filter() {
    if (!filters) return;
    const wanted = Object.fromEntries(new FormData(filters));
    let shown = 0;
    live.querySelectorAll("[data-task]").forEach((each) => {
      const { task, method, status } = each.dataset;
      const fits = (!wanted.task || task === wanted.task)
        && (!wanted.method || !method || method === wanted.method)
        && (!wanted.status || !status || status === wanted.status
          || (wanted.status === "failures" && "failures" in each.dataset));
      each.hidden = !fits;
      if (fits && each.matches("details.unit")) shown += 1;
    });
    document.getElementById("none").hidden = shown > 0;
  }

  function fail(error) {
    problem.textContent = String(error.message || error);
    problem.hidden = false;
  }

  if (filters) {
    const asked = new URLSearchParams(location.search);
    for (const select of filters.elements) {
      if (asked.has(select.name)) select.value = asked.get(select.name);
    }
    filters.addEventListener("change", () => {
      const chosen = [...new FormData(filters)].filter(([, value]) => value);
      const query = new URLSearchParams(chosen).toString();
      history.replaceState(null, "", `${location.pathname}${query && `?${query}`}${location.hash}`);
      filter();
    });
    filters.addEventListener("submit", (event) => event.preventDefault());
  }

  [...live.children].forEach((part) => texts.set(part.dataset.part, part.outerHTML));
  live.querySelectorAll("details.unit").forEach(follow);
  filter();

  const events = new EventSource(`${location.pathname}events`);
  events.addEventListener("open", () => {
    connection.textContent = "live";
    connection.className = "live";
  });
  events.addEventListener("message", ({ data }) => {
    const found = JSON.parse(data);
    problem.hidden = !found.problem;
    if (found.problem) fail(found.problem);
    else show(found);
    connection.textContent = `live, last change ${new Date().toLocaleTimeString()}`;
    connection.className = "live";
  });
  events.addEventListener("error", () => {
    connection.textContent = "connection lost; shown is what was last known";
    connection.className = "lost";
  });
})();
