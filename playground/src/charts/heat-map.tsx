/** A matrix as colours, drawn on a canvas: one cell a value, rows from the top. */
import { useEffect, useRef } from "preact/hooks";
import { paints } from "../theme";
import { heatRamp } from "./colours";

export interface Cell {
  readonly row: number;
  readonly column: number;
}

export function HeatMap({ values, rows, columns, most, label, onCell }: {
  /** Row by row; NaN is a cell that does not exist, and stays blank. */
  values: ArrayLike<number>;
  rows: number;
  columns: number;
  /** The value that gets the strongest colour. */
  most: number;
  /** What screen readers say in its place. */
  label: string;
  /** The cell under the pointer; null when it leaves. */
  onCell?: (cell: Cell | null) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const repaint = paints.value;
  useEffect(() => {
    const context = canvas.current!.getContext("2d")!;
    const [image, ramp] = [context.createImageData(columns, rows), heatRamp()];
    for (let index = 0; index < rows * columns; index++) {
      const value = values[index]!;
      if (Number.isNaN(value)) continue;
      const step = 3 * Math.round(255 * Math.min(1, Math.max(0, value / most)));
      image.data.set([ramp[step]!, ramp[step + 1]!, ramp[step + 2]!, 255], 4 * index);
    }
    context.putImageData(image, 0, 0);
  }, [values, rows, columns, most, repaint]);
  const move = ({ clientX, clientY }: PointerEvent) => {
    const box = canvas.current!.getBoundingClientRect();
    const row = Math.floor(((clientY - box.top) / box.height) * rows);
    const column = Math.floor(((clientX - box.left) / box.width) * columns);
    const isInside = row >= 0 && row < rows && column >= 0 && column < columns;
    onCell?.(isInside ? { row, column } : null);
  };
  return <canvas ref={canvas} class="heat-map" width={columns} height={rows} role="img" aria-label={label} onPointerMove={move} onPointerLeave={() => onCell?.(null)} />;
}
