/** Curves over one axis. A pointer or the arrow keys read their values; a table says them, too. */
import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";
import { useId, useRef, useState } from "preact/hooks";
import { series as colour } from "./colours";
import { useWidth } from "./use-width";

export type Point = readonly [x: number, y: number | null];

export interface Series {
  readonly label: string;
  /** Ordered by x, and with the same x in every series; null leaves a gap. */
  readonly points: readonly Point[];
  readonly isDashed?: boolean;
}

export interface Axis {
  readonly label: string;
  readonly scale?: "linear" | "log";
  /** Of a log scale's steps: 10, or 2 for what is counted in powers of two. */
  readonly base?: 2 | 10;
  readonly format: (value: number) => string;
}

export interface Mark {
  readonly x: number;
  readonly label: string;
}

const PAD = { top: 14, right: 14, bottom: 40, left: 60 };

export function LineChart({ title, series, x, y, marks = [], height = 280 }: {
  title: string;
  series: readonly Series[];
  x: Axis;
  y: Axis;
  /** Vertical lines with words. */
  marks?: readonly Mark[];
  height?: number;
}) {
  const frame = useRef<HTMLDivElement>(null);
  const width = useWidth(frame, 640);
  const [at, setAt] = useState<number | null>(null);
  const id = useId();
  const xs = series[0]?.points.map(([value]) => value) ?? [];
  const ys = series.flatMap(({ points }) => points.flatMap(([, value]) => value ?? []));
  const toX = scale(x, xs, [PAD.left, width - PAD.right]);
  const toY = scale(y, y.scale === "log" ? ys : [0, ...ys], [height - PAD.bottom, PAD.top]).nice();
  const path = line<Point>(([value]) => toX(value), ([, value]) => toY(value!)).defined(([, value]) => value !== null);
  const move = (event: PointerEvent) => {
    const offset = event.clientX - frame.current!.getBoundingClientRect().left;
    setAt(nearest(xs.map((value) => toX(value)), offset));
  };
  const step = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    setAt(Math.min(xs.length - 1, Math.max(0, (at ?? -1) + by)));
  };
  const [bottom, right] = [height - PAD.bottom, width - PAD.right];
  return (
    <figure class="chart" aria-labelledby={id}>
      <figcaption id={id}>
        <strong>{title}</strong>
        <span class="chart-keys">
          {series.map(({ label, isDashed }, index) => (
            <span key={label} class="chart-key">
              <svg width="18" height="8" aria-hidden="true"><line x1="1" x2="17" y1="4" y2="4" stroke={colour(index)} class={isDashed ? "dashed" : ""} /></svg>
              {label}
            </span>
          ))}
        </span>
      </figcaption>
      <div ref={frame} class="chart-frame" tabIndex={0} role="application" aria-label={`${title}: arrow keys read the values`} onPointerMove={move} onPointerLeave={() => setAt(null)} onKeyDown={step} onBlur={() => setAt(null)}>
        <svg width={width} height={height} aria-hidden="true">
          {ticks(toY, y, 6).map((value) => (
            <g key={value}>
              <line class="grid" x1={PAD.left} x2={right} y1={toY(value)} y2={toY(value)} />
              <text class="tick" x={PAD.left - 8} y={toY(value)} dy="0.32em" text-anchor="end">{y.format(value)}</text>
            </g>
          ))}
          {ticks(toX, x, Math.max(2, Math.floor(width / 80))).map((value) => (
            <text key={value} class="tick" x={toX(value)} y={bottom + 16} text-anchor="middle">{x.format(value)}</text>
          ))}
          <line class="axis" x1={PAD.left} x2={right} y1={bottom} y2={bottom} />
          <text class="axis-label" x={right} y={height - 4} text-anchor="end">{x.label}</text>
          {marks.map((mark) => (
            <g key={mark.label}>
              <line class="mark" x1={toX(mark.x)} x2={toX(mark.x)} y1={PAD.top} y2={bottom} />
              <text class="mark-label" x={toX(mark.x) + 5} y={PAD.top + 8}>{mark.label}</text>
            </g>
          ))}
          {series.map(({ label, points, isDashed }, index) => (
            <path key={label} class={`curve ${isDashed ? "dashed" : ""}`} d={path(points) ?? ""} stroke={colour(index)} />
          ))}
          {at !== null && <line class="cursor" x1={toX(xs[at]!)} x2={toX(xs[at]!)} y1={PAD.top} y2={bottom} />}
          {at !== null && series.map(({ label, points }, index) => points[at]![1] !== null && (
            <circle key={label} cx={toX(points[at]![0])} cy={toY(points[at]![1]!)} r="4" fill={colour(index)} class="point" />
          ))}
        </svg>
        {at !== null && (
          <div class={`chart-tip ${toX(xs[at]!) > width / 2 ? "left" : ""}`} style={{ insetInlineStart: `${toX(xs[at]!)}px` }} role="status">
            <span>{x.label} {x.format(xs[at]!)}</span>
            {series.map(({ label, points }) => <span key={label}>{label} <b>{told(points[at]![1], y)}</b></span>)}
          </div>
        )}
      </div>
    </figure>
  );
}

function told(value: number | null, { format }: Axis): string {
  return value === null ? "does not fit" : format(value);
}

type Scale = ReturnType<typeof scale>;

function scale(axis: Axis, values: readonly number[], range: [number, number]) {
  const domain = [Math.min(...values), Math.max(...values)];
  return axis.scale === "log"
    ? scaleLog().base(axis.base ?? 10).domain(domain).range(range)
    : scaleLinear().domain(domain).range(range);
}

/** Multiples that a log scale shows of its powers: as many as there is room for. */
const MULTIPLES = [[1, 2, 5], [1, 3], [1]] as const;

function ticks(toAxis: Scale, axis: Axis, most: number): number[] {
  if (axis.scale !== "log" || axis.base === 2) return toAxis.ticks(most);
  const [least, last] = toAxis.domain() as [number, number];
  const powers: number[] = [];
  for (let power = 10 ** Math.floor(Math.log10(least)); power <= last; power *= 10) powers.push(power);
  const sets = MULTIPLES.map((multiples) =>
    powers.flatMap((power) => multiples.map((m) => m * power)).filter((value) => value >= least && value <= last),
  );
  return sets.find(({ length }) => length <= most) ?? sets.at(-1)!;
}

function nearest(places: readonly number[], wanted: number): number {
  let best = 0;
  places.forEach((place, index) => {
    if (Math.abs(place - wanted) < Math.abs(places[best]! - wanted)) best = index;
  });
  return best;
}
