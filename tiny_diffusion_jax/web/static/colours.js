// Colours of the style of the page, as numbers for pixels.

const probe = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext(
  "2d",
  { willReadFrequently: true },
);

// [r, g, b] of any CSS colour.
function rgb(text) {
  probe.fillStyle = text;
  probe.fillRect(0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

// [r, g, b] of a variable of page.css, as "--ink".
function cssColour(name) {
  return rgb(getComputedStyle(document.documentElement).getPropertyValue(name).trim());
}

const isDark = () => document.documentElement.dataset.theme === "dark";

const MEMBERS = 10; // colours of page.css

// The variable of page.css of member k, or of another kind with the number k in its legend.
const memberVariable = (k) => `--member-${k % MEMBERS}`;

const memberColour = (k) => cssColour(memberVariable(k));

// Samplers in charts have the colours of members, in the order of live/convergence.js.
const SAMPLER_ORDER = ["ddim", "heun", "dpm++2m"];

// The CSS colour of the line of a sampler.
const samplerColour = (name) => `var(${memberVariable(SAMPLER_ORDER.indexOf(name))})`;

// A circle of hues of about one lightness, for an angle in radians.
function hue(angle) {
  const low = isDark() ? 0.36 : 0.14;
  const tone = (shift) => Math.round(255 * (low + 0.3 + 0.3 * Math.cos(angle + shift)));
  return [tone(0), tone(-2.1), tone(2.1)];
}

const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
