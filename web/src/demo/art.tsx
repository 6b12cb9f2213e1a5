// Pictures of our own, drawn in the page's colours. They say nothing that the text beside them does not, so screen readers pass them by.

export function Sneaker() {
  return (
    <svg class="art" viewBox="0 0 240 150" aria-hidden="true">
      <ellipse class="art-shade" cx="122" cy="134" rx="100" ry="8" />
      <path class="art-mark" d="M22 92c-4-20-4-44 2-52 5-4 10 2 15 8 6 7 16 8 24 1 6-5 10-4 15 2 16 20 46 34 86 40 26 4 44 6 46 22l-2 9H24c-3-8-4-20-2-30Z" />
      <path class="art-slip" d="M24 122c-3-8-4-18-3-26 40 10 104 14 190 14l-2 12c-1 6-4 8-10 8H32c-5 0-7-3-8-8Z" />
      <path class="art-line" d="M21 108c40 8 104 12 190 11" />
      <path class="art-line" d="M84 60l14-12M98 70l15-12M113 79l15-11M129 86l14-10" />
      <path class="art-paper" d="M40 74c14 12 34 18 56 20-18 8-42 6-56-20Z" />
      <path class="art-line" d="M176 93c10 2 22 5 30 12" />
      <circle class="art-paper" cx="34" cy="58" r="4" />
    </svg>
  );
}

export function Farmhouse() {
  return (
    <svg class="art" viewBox="0 0 240 150" aria-hidden="true">
      <circle class="art-sun" cx="196" cy="34" r="16" />
      <path class="art-hill" d="M0 124c36-34 76-38 120-14 40-22 84-20 120 10v30H0Z" />
      <path class="art-slip" d="M64 76h96v54H64Z" />
      <path class="art-mark" d="M46 80c26-10 46-24 66-44 20 20 40 34 66 44-10 4-20 3-28-1H74c-8 4-18 5-28 1Z" />
      <path class="art-line" d="M46 80c10 4 20 3 28-1h76c8 4 18 5 28 1" />
      <path class="art-wood" d="M98 94h28v36H98Z" />
      <path class="art-line" d="M112 94v36M64 76v54M160 76v54" />
      <path class="art-paper" d="M74 90h16v16H74ZM134 90h16v16h-16Z" />
      <path class="art-line" d="M82 90v16M74 98h16M142 90v16M134 98h16" />
      <path class="art-line" d="M196 130v-26" />
      <circle class="art-leaf" cx="196" cy="94" r="16" />
      <circle class="art-leaf" cx="208" cy="104" r="10" />
      <path class="art-line" d="M16 130h30M20 122v14M30 122v14M40 122v14" />
    </svg>
  );
}

export function Heart() {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d="M12 20S4 14.5 4 9a4 4 0 0 1 8-1.500a4 4 0 0 1 8 1.500c0 5.500-8 11-8 11Z" />
    </svg>
  );
}

const icons = {
  shop: "M3 14c0-4 0-6 2-7 2 3 4 2 6 0 2 4 6 6 10 7v4H4c-1 0-1-2-1-4Z",
  stay: "M3 12 12 4l9 8M6 10v9h12v-9M10 19v-5h4v5",
  coupon: "M3 7h18v3a2 2 0 0 0 0 4v3H3v-3a2 2 0 0 0 0-4ZM14 7v10",
} as const;

export function Icon({ name }: { name: keyof typeof icons }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={icons[name]} />
    </svg>
  );
}
