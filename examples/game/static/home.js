// The page that picks an arena.

import { byId } from "/static/page.js";

byId("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = new URLSearchParams();
  const name = byId("name").value.trim() || `Guest ${100 + Math.floor(Math.random() * 900)}`;
  if (event.submitter?.value !== "watch") query.set("name", name);
  location.assign(`/game/${encodeURIComponent(byId("arena").value)}/?${query}`);
});
