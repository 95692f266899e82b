// Where a card opens beside a token: below it, or above it on narrow screens, where a tap opens its
// result below.

export interface Place {
  left: number;
  top?: number;
  bottom?: number;
}

const WIDTH = 268;
const NARROW = 640;

export function beside(rect: DOMRect): Place {
  const left = Math.max(8, Math.min(rect.left, window.innerWidth - WIDTH));
  const above = window.innerWidth < NARROW && rect.top > window.innerHeight / 3;
  return above ? { left, bottom: window.innerHeight - rect.top + 6 } : { left, top: rect.bottom + 6 };
}
