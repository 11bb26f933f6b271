"use strict";

// A name that nobody has ever asked for, below a key that only this server knows. Whether the browser finds anything
// there does not matter: the server tells whether it was asked.
async function check(box) {
  const verdict = document.getElementById("verdict");
  const explanation = document.getElementById("explanation");
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const token = Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
  box.classList.add("checking");
  verdict.textContent = "Checking whether this browser resolves public-key domains…";
  explanation.textContent = "";
  const options = { mode: "no-cors", cache: "no-store", credentials: "omit" };
  const { zone, bridge } = document.body.dataset;
  const opened = fetch(`https://${token}.${zone}${bridge ? `:${bridge}` : ""}/`, options).then(() => true, () => false);
  for (const wait of [300, 500, 700, 1000, 1500]) {
    await new Promise(resolve => setTimeout(resolve, wait));
    const reply = await fetch(`/check/${token}`, { cache: "no-store" }).catch(() => null);
    if (reply && reply.ok && (await reply.json()).asked) {
      box.classList.replace("checking", "good");
      verdict.textContent = "This browser resolves public-key domains.";
      explanation.textContent = "Its questions come to this server.";
      document.getElementById("next").hidden = false;
      document.getElementById("setup").open = false;
      if (bridge) checkPadlock(await opened);
      return;
    }
  }
  box.classList.replace("checking", "bad");
  verdict.textContent = "This browser does not resolve public-key domains yet.";
  explanation.textContent = "It did not ask this server. Set the address below, then load this page again.";
}

// Where the server has a bridge, that name leads there, and the connection fails unless the browser believes its authority.
function checkPadlock(opened) {
  document.getElementById("padlock").textContent = opened
    ? "It works in this browser: https:// addresses under keys open with a padlock."
    : "This browser does not believe that authority yet. Import it, restart the browser, and load this page again.";
}

function copyButton(box) {
  const text = box.querySelector("pre, .value");
  const button = document.createElement("button");
  button.className = "small";
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy ${text.textContent}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  box.classList.add("can");
  box.append(button);
}

// The page of the operator, as it is now. Nothing is announced: whoever listens to it asks for it.
async function refresh() {
  if (document.hidden) return;
  const reply = await fetch(location.href, { cache: "no-store" }).catch(() => null);
  if (!reply || !reply.ok) return;
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  const [before, now] = [document, page].map(page => page.getElementById("main"));
  if (now && !before.contains(document.activeElement)) before.replaceWith(now);
}

// What is folded away is shown to whoever asks for it.
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}

addEventListener("hashchange", unfold);
if (navigator.clipboard) document.querySelectorAll(".copyable").forEach(copyButton);
const box = document.getElementById("check");
if (box) check(box);
if (document.body.dataset.refresh) setInterval(refresh, 5000);
