import type { DesktopNotice } from '#adapters/notify-desktop/index.ts'
import type { DeviceLaunch, DeviceLaunchEnd } from '#core/api/handoff.ts'

/** What a person is told when something was taken back from this device: why, what would bring it back, how to go on. */
export function noticeOf(
  { workspace }: Pick<DeviceLaunch, 'workspace'>,
  { reason, remedy, stepDown }: DeviceLaunchEnd,
): DesktopNotice {
  const goOn =
    stepDown === undefined
      ? undefined
      : 'You can go on in the data centre: open your portal and press one button'
  const sentences = [reason, remedy, goOn].filter((clause) => clause !== undefined)
  return {
    title: `${workspace.name} was taken back from this device`,
    body: sentences.map(sentence).join(' '),
    isCritical: true,
  }
}

function sentence(clause: string): string {
  return `${clause.charAt(0).toUpperCase()}${clause.slice(1)}${/[.!?]$/.test(clause) ? '' : '.'}`
}
