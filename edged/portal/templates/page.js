(() => {
  "use strict";
  // News: the server says the state again whenever it may have changed; another state is another page.
  const state = document.body.dataset.state;
  const turn = () => document.body.dataset.stays ? location.reload() : location.replace("/");
  const told = (word) => { if (word && word !== state) turn(); };
  const look = () => fetch("/state", { cache: "no-store" }).then((a) => a.ok ? a.text() : "").then(told, () => {});
  if (state) {
    let timer = 0;
    const listen = () => {
      const news = new EventSource("/live");
      news.onmessage = (event) => told(event.data);
      news.onerror = () => {
        if (news.readyState === EventSource.CLOSED && !timer) timer = setInterval(look, 15000);
      };
    };
    if (window.EventSource) listen(); else timer = setInterval(look, 15000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
    window.addEventListener("pageshow", (event) => { if (event.persisted) look(); });
  }
  // Time left, counted on.
  const words = window.Intl && Intl.RelativeTimeFormat && new Intl.RelativeTimeFormat(document.documentElement.lang);
  const count = () => document.querySelectorAll("time + span").forEach((span) => {
    const left = (Date.parse(span.previousElementSibling.dateTime) - Date.now()) / 60000;
    if (!span.dataset.left || left < 0) return;
    span.textContent = "(" + (left < 90 ? words.format(Math.ceil(left), "minute")
      : left < 2880 ? words.format(Math.round(left / 60), "hour") : words.format(Math.round(left / 1440), "day")) + ")";
  });
  if (words) setInterval(count, 20000);
  // Copying needs a secure context; without one the text can be selected with one tap.
  if (navigator.clipboard) document.querySelectorAll("button[data-copy]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => {
      const text = document.getElementById(button.dataset.copy).textContent;
      navigator.clipboard.writeText(text).then(() => {
        button.textContent = document.getElementById("copied").textContent = button.dataset.done;
      });
    });
  });
})();
