import { expect, test } from 'vitest'
import { matchPath, safeNext } from './match-path.ts'

test('a pattern matches its path and names its parts', () => {
  expect(matchPath('/', '/')).toEqual({})
  expect(matchPath('/session/:id', '/session/a%20b')).toEqual({ id: 'a b' })
  expect(matchPath('/admin/hosts', '/admin/hosts/')).toEqual({})
})

test('a path that is longer, shorter, empty in a part or badly encoded does not match', () => {
  expect(matchPath('/session/:id', '/session')).toBeUndefined()
  expect(matchPath('/session/:id', '/session/')).toBeUndefined()
  expect(matchPath('/session/:id', '/session/a/b')).toBeUndefined()
  expect(matchPath('/session/:id', '/session/%zz')).toBeUndefined()
  expect(matchPath('/', '/x')).toBeUndefined()
})

test('after signing in only paths of this site are followed', () => {
  expect(safeNext('/admin/hosts?x=1')).toBe('/admin/hosts?x=1')
  for (const bad of [null, '', 'https://evil.example', '//evil.example', '/\\evil.example']) {
    expect(safeNext(bad)).toBe('/')
  }
})
