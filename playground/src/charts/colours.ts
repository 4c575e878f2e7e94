/** The colours of data, as CSS variables of `design/tokens.css`: they follow the theme. */

export const SERIES = ["var(--data-1)", "var(--data-2)", "var(--data-3)", "var(--data-4)"] as const;

export function series(index: number): string {
  return SERIES[index % SERIES.length]!;
}

const HEAT_STEPS = 256;

/** The heat ramp as RGB bytes [256 × 3], from nothing to most, in the colours of the theme. */
export function heatRamp(): Uint8ClampedArray {
  const canvas = new OffscreenCanvas(HEAT_STEPS, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  const gradient = context.createLinearGradient(0, 0, HEAT_STEPS, 0);
  // A variable's own value may be `light-dark(…)`; an element's colour is one that a canvas reads.
  const probe = document.documentElement.appendChild(document.createElement("i"));
  for (let stop = 0; stop <= 4; stop++) {
    probe.style.color = `var(--heat-${stop})`;
    gradient.addColorStop(stop / 4, getComputedStyle(probe).color);
  }
  probe.remove();
  context.fillStyle = gradient;
  context.fillRect(0, 0, HEAT_STEPS, 1);
  const { data } = context.getImageData(0, 0, HEAT_STEPS, 1);
  return data.filter((_, index) => index % 4 !== 3);
}
