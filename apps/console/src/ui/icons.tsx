import type { ReactElement } from 'react'

/** Drawn for this console on a grid of 20, one line of 1.6. They are decoration: what they mean stands beside them in words. */
const paths = {
  desktop: 'M3 4.5h14v9H3zM7.5 16.5h5M10 13.5v3',
  application: 'M3 4h14v12H3zM3 7.5h14M5.5 5.8h.01M7.5 5.8h.01',
  terminal: 'M3 4h14v12H3zM6 8l2.5 2L6 12M10.5 12.5H14',
  document: 'M5 2.8h6.5L15 6.3v10.9H5zM11.3 3v3.5h3.5M7.5 10h5M7.5 13h5',
  browser:
    'M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM3 10h14M10 3c2.3 2 3 4.5 3 7s-.7 5-3 7c-2.3-2-3-4.5-3-7s.7-5 3-7z',
  chart: 'M3.5 16.5h13M5.5 13.5v-3M10 13.5v-8M14.5 13.5v-5.5',
  education: 'M10 4 2.5 7.5 10 11l7.5-3.5zM5.5 9.5v4c1.3 1.2 2.8 1.7 4.5 1.7s3.2-.5 4.5-1.7v-4',
  health: 'M10 16.5s-6.5-3.7-6.5-8.2A3.5 3.5 0 0 1 10 6.5a3.5 3.5 0 0 1 6.5 1.8c0 4.5-6.5 8.2-6.5 8.2z',
  chevron: 'M5.5 8l4.5 4.5L14.5 8',
  arrow: 'M4 10h11.5M11 5.5l4.5 4.5-4.5 4.5',
  copy: 'M7 7h9.5v9.5H7zM4.5 12.8h-1V3.5h9.3v1',
  check: 'M4.5 10.5l3.5 3.5 7.5-8',
  close: 'M5 5l10 10M15 5L5 15',
  plus: 'M10 4v12M4 10h12',
  info: 'M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM10 9.3v4M10 6.7h.01',
  warning: 'M10 3.2 17.5 16.5h-15zM10 8.3v3.7M10 14.2h.01',
  lock: 'M5 9h10v7.5H5zM7 9V6.5a3 3 0 0 1 6 0V9',
  unlock: 'M5 9h10v7.5H5zM7 9V6.5a3 3 0 0 1 5.8-1',
  shield: 'M10 2.8 4 5v4.7c0 3.7 2.5 6.2 6 7.5 3.5-1.3 6-3.8 6-7.5V5z',
  place: 'M4 4h12v5H4zM4 11h12v5H4zM6.5 6.5h.01M6.5 13.5h.01',
  person: 'M10 9.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM4 17c.5-3.2 2.8-5 6-5s5.5 1.8 6 5',
  clipboard: 'M6.5 4.5H4.5v12.7h11V4.5h-2M7 3h6v3H7z',
  fullscreen: 'M3.5 7.5v-4h4M12.5 3.5h4v4M16.5 12.5v4h-4M7.5 16.5h-4v-4',
  windowed: 'M7.5 3.5v4h-4M16.5 7.5h-4v-4M12.5 16.5v-4h4M3.5 12.5h4v4',
  keyboard: 'M2.5 5.5h15v9h-15zM5.5 8.5h.01M8.5 8.5h.01M11.5 8.5h.01M14.5 8.5h.01M6.5 11.5h7',
  power: 'M10 3v6.5M6.3 5.3a6 6 0 1 0 7.4 0',
  leave: 'M8 3.5H4v13h4M8.5 10H17M13.5 6.5 17 10l-3.5 3.5',
  signal: 'M3.5 16.5v-3M8 16.5v-6M12.5 16.5v-9M17 16.5v-13',
  moon: 'M15.5 12.5A6.5 6.5 0 0 1 7.5 4.5a6.5 6.5 0 1 0 8 8z',
} as const

export type IconName = keyof typeof paths

export function Icon({ name }: { readonly name: IconName }): ReactElement {
  return (
    <svg className="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  )
}

const workspaceIcons: Readonly<Record<string, IconName>> = {
  desktop: 'desktop',
  application: 'application',
  terminal: 'terminal',
  xterm: 'terminal',
  editor: 'document',
  document: 'document',
  text: 'document',
  notes: 'document',
  browser: 'browser',
  web: 'browser',
  chart: 'chart',
  finance: 'chart',
  education: 'education',
  school: 'education',
  health: 'health',
  records: 'health',
}

/** The icon of a workspace by the name that an admin gave it, else that of its kind. */
export function workspaceIcon(icon: string, kind: 'desktop' | 'application'): IconName {
  return workspaceIcons[icon] ?? kind
}

/** The product's mark: what is inside, and what is around it. */
export function Mark(): ReactElement {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" />
      <path d="M7.5 21.5a8.5 8.5 0 0 1 17 0" opacity=".55" />
      <path d="M12 21.5a4 4 0 0 1 8 0" />
      <circle cx="16" cy="10" r="2.2" />
    </svg>
  )
}
