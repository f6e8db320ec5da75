"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const { figures, themes } = JSON.parse(document.getElementById("figures").textContent);
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();

  const theme = () => root.dataset.theme || (systemDark.matches ? "dark" : "light");

  function draw(place) {
    const { data, layout } = figures[place.dataset.figure];
    const config = {
      responsive: true,
      displaylogo: false,
      showSendToCloud: false, // on by default in plotly 7: it would send the data away
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
      toImageButtonOptions: { format: "svg" },
    };
    place.style.minHeight = `${layout.height}px`;
    window.Plotly.react(place, data, { ...layout, template: themes[theme()] }, config);
    drawn.add(place);
  }

  function showTheme() {
    button.textContent = theme() === "dark" ? "Light" : "Dark";
    drawn.forEach(draw);
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
  function watch(places) {
    const observer = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        draw(target);
      }
    }, { rootMargin: "600px" });
    places.forEach((place) => observer.observe(place));
    addEventListener("beforeprint", () => places.filter((p) => !drawn.has(p)).forEach(draw));
  }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  const places = [...document.querySelectorAll("[data-figure]")];
  if (places.length === 0) return;
  if (!("DecompressionStream" in window)) {
    document.getElementById("unpack").hidden = false;
    return;
  }
  unpack(document.getElementById("plotly").textContent)
    .then(() => watch(places))
    .catch((error) => {
      document.getElementById("unpack").hidden = false;
      console.error(error);
    });
})();
