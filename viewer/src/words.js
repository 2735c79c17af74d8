// Numbers and names as people read them.

export function count(number) {
  return Math.round(number).toLocaleString("en-GB");
}

export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Three significant digits, without an exponent for what people measure. */
export function short(number) {
  const size = Math.abs(number);
  if (size >= 1000) return count(number);
  if (size > 0 && size < 1e-4) return number.toExponential(2);
  return String(Number(number.toPrecision(3)));
}

export function length(number, unit) {
  return `${short(number)} ${unit || "units"}`;
}

export function seconds(time) {
  return `${Number(time.toFixed(2))} s`;
}

/** A time of a frame or a stretch, with the clip if there are several. */
export function moment({ clip }, time) {
  return clip ? `${clip}, ${seconds(time)}` : seconds(time);
}

export function capital(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}
