// What a browser keeps for the console: language and colours, nothing else. Storage may be blocked; then a choice lasts as long as the page.
export function load(name: string): string | null {
  try {
    return window.localStorage.getItem(`bunho.console.${name}`);
  } catch {
    return null;
  }
}

export function store(name: string, value: string): void {
  try {
    window.localStorage.setItem(`bunho.console.${name}`, value);
  } catch {
    // Blocked.
  }
}
