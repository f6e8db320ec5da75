"use strict";
const phasewise = (() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const { figures, themes } = JSON.parse(document.getElementById("figures").textContent);
  const { nonce } = document.currentScript;
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();
  const NARROW = 560; // pixels below which panels stand under one another

  const theme = () => root.dataset.theme || (systemDark.matches ? "dark" : "light");

  // Panels side by side become panels under one another.
  function stack({ data, layout }) {
    const axes = Object.keys(layout).filter((name) => /^xaxis\d*$/.test(name) && layout[name].domain);
    if (axes.length < 2) return { data, layout };
    const share = 1 / axes.length;
    const stacked = { ...layout, height: 90 + 210 * axes.length };
    const ordinates = {};
    axes.forEach((name, index) => {
      const suffix = index ? String(index + 1) : "";
      const top = 1 - index * share;
      const of = data.find((trace) => `xaxis${(trace.xaxis || "x").slice(1)}` === name);
      const own = layout[`yaxis${((of && of.yaxis) || "y").slice(1)}`] || layout.yaxis;
      ordinates[name] = `y${suffix}`;
      stacked[name] = { ...layout[name], domain: [0, 1], anchor: `y${suffix}` };
      stacked[`yaxis${suffix}`] = {
        ...own, domain: [top - share * 0.68, top], anchor: name.replace("axis", ""),
      };
    });
    return {
      data: data.map((trace) => ({
        ...trace, yaxis: ordinates[`xaxis${(trace.xaxis || "x").slice(1)}`],
      })),
      layout: stacked,
    };
  }

  function draw(place) {
    if (!figures[place.dataset.figure]) return;
    const narrow = place.clientWidth < NARROW;
    const figure = figures[place.dataset.figure];
    const { data, layout } = narrow ? stack(figure) : figure;
    const config = {
      responsive: true,
      displaylogo: false,
      displayModeBar: narrow ? false : undefined, // else shown under the pointer
      showSendToCloud: false, // on by default in plotly 7: it would send the data away
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
      toImageButtonOptions: { format: "svg" },
    };
    const columns = layout.xaxis.ticktext;
    if (columns && !layout.xaxis2) place.style.minWidth = `${Math.min(70 * columns.length, 900)}px`;
    place.style.minHeight = `${layout.height}px`;
    const { width } = place.dataset;
    place.dataset.width = place.clientWidth;
    window.Plotly.react(place, data, { ...layout, template: themes[theme()] }, config);
    if (width && width !== place.dataset.width) window.Plotly.Plots.resize(place);
    drawn.add(place);
    sizes.observe(place);
  }

  // A neighbor that comes or goes, a phone that is turned: plotly sees the window's size only.
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const { clientWidth } = target;
      if (clientWidth && String(clientWidth) !== target.dataset.width) draw(target);
    }
  });

  function showTheme() {
    button.textContent = theme() === "dark" ? "Light" : "Dark";
    drawn.forEach((place) => (place.isConnected ? draw(place) : drawn.delete(place)));
  }

  button.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    showTheme();
  });
  systemDark.addEventListener("change", showTheme);
  showTheme();

  // A number's link leads into a closed list: not every browser opens it by itself.
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let each = target; each; each = each.parentElement) {
      if (each.tagName === "DETAILS") each.open = true;
    }
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();

  // Drawn when it comes near the screen: forty units have more figures than anyone scrolls to.
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "600px" });

  function watch(part) {
    part.querySelectorAll("[data-figure]").forEach((place) => observer.observe(place));
  }

  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((each) => { each.open = true; });
    document.querySelectorAll("[data-figure]").forEach(draw);
  });

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.nonce = nonce;
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  async function start() {
    if (window.Plotly) return watch(document);
    if (!document.querySelector("[data-figure]")) return undefined;
    if (!("DecompressionStream" in window)) throw new Error("no DecompressionStream");
    await unpack(document.getElementById("plotly").textContent);
    return watch(document);
  }

  start().catch((error) => {
    document.getElementById("unpack").hidden = false;
    console.error(error);
  });
  return { draw, drawn, figures, watch };
})();
