"use strict";

// A name that nobody has ever asked for, below a key that only this server knows. Whether the browser finds anything
// there does not matter: the server tells whether it was asked.
async function check() {
  const box = document.getElementById("check");
  const verdict = document.getElementById("verdict");
  const explanation = document.getElementById("explanation");
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const token = Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
  verdict.textContent = "Checking whether this browser resolves public-key domains…";
  explanation.textContent = "";
  const options = { mode: "no-cors", cache: "no-store", credentials: "omit" };
  fetch(`https://${token}.${document.body.dataset.zone}/`, options).catch(() => {});
  for (const wait of [300, 500, 700, 1000, 1500]) {
    await new Promise(resolve => setTimeout(resolve, wait));
    const reply = await fetch(`check/${token}`, { cache: "no-store" }).catch(() => null);
    if (reply && reply.ok && (await reply.json()).asked) {
      box.classList.add("good");
      verdict.textContent = "This browser resolves public-key domains.";
      explanation.textContent = " Its questions come to this server.";
      return;
    }
  }
  box.classList.add("bad");
  verdict.textContent = "This browser does not resolve public-key domains yet.";
  explanation.textContent = " It did not ask this server. Set the address below, then load this page again.";
}

function copyButton() {
  const button = document.getElementById("copy");
  const address = document.getElementById("doh");
  address.addEventListener("focus", () => address.select());
  if (!navigator.clipboard) {
    return;
  }
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(address.value);
    button.textContent = "Copied";
  });
}

copyButton();
check();
