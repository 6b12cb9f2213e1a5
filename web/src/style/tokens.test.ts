/** The console lets one choose a scheme, which CSS for phones of five years ago can only say by naming each colour a second time. The two must stay equal. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')

/** The colours that stand in the block after `opening`. */
function colours(css: string, opening: string): Record<string, string> {
  const from = css.indexOf(opening)
  expect(from, opening).toBeGreaterThanOrEqual(0)
  const block = css.slice(from + opening.length, css.indexOf('}', from))
  return Object.fromEntries([...block.matchAll(/(--[\w-]+):\s*(#\w+);/g)].map(([, name, value]) => [name, value] as [string, string]))
}

test('a scheme that was chosen has the colours of the one that the system asks for', () => {
  const tokens = read('./tokens.css')
  const theme = read('../console/style/theme.css')
  const light = colours(tokens, ':root {')
  const dark = colours(tokens, '@media (prefers-color-scheme: dark) {\n  :root {')
  expect(Object.keys(light).length).toBeGreaterThan(8)
  expect(Object.keys(dark)).toEqual(Object.keys(light))
  expect(colours(theme, ':root[data-theme="light"] {')).toEqual(light)
  expect(colours(theme, ':root[data-theme="dark"] {')).toEqual(dark)
})
