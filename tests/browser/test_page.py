"""bridge/page in a real Chromium: what people see, hear and do, in both languages, and what nobody can."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import PICTURES, TOKEN, Open, Site
from tests.page.fake import a_call, entry, leg, said

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUSY = "1764075600.0012"
QUIET = "1764075610.0020"


def card(page: Page, call: str = BUSY) -> Any:
    return page.locator(f'.card[data-call="{call}"]')


class TestLogin:
    async def test_only_who_has_the_token_sees_anything(self, visit: Open, site: Site) -> None:
        page = await visit(login=False)
        await expect(page.get_by_label("Token")).to_be_focused()
        assert (await page.request.get(f"{site.url}api/calls")).status == 401
        await page.get_by_label("Token").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert").filter(has_text="That is not the token.")).to_be_visible()
        assert await page.locator(".card").count() == 0
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.locator(".card")).to_have_count(6)
        (cookie,) = await page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert TOKEN not in cookie["value"]

    async def test_a_link_with_the_token_lets_in_and_leaves_no_token(self, visit: Open, site: Site) -> None:
        page = await visit(login=False, at=f"#/login/{TOKEN}")
        await expect(page.locator(".card")).to_have_count(6)
        assert page.url == f"{site.url}#/"
        assert await page.evaluate("history.length") == 2  # with the empty page before it

    async def test_a_link_with_a_wrong_token_says_so(self, visit: Open, site: Site) -> None:
        page = await visit(login=False, at="#/login/wr%6Fng%")
        await expect(page.get_by_role("alert").filter(has_text="That is not the token.")).to_be_visible()
        assert page.url == f"{site.url}#/"

    async def test_a_reload_stays_in_and_a_logout_is_one(self, visit: Open, site: Site) -> None:
        page = await visit()
        await page.reload()
        await expect(page.locator(".card")).to_have_count(6)
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_focused()
        await expect(page.locator("#overview")).to_be_hidden()
        assert (await page.request.get(f"{site.url}api/calls")).status == 401


class TestOverview:
    async def test_text_comes_as_it_is_said(self, visit: Open, site: Site) -> None:
        page = await visit()
        lines = card(page).locator(".said")
        await expect(lines.last).to_have_text("Callee더 필요하신 것이 있으신가요?")
        caller, callee = site.busy["legs"]
        await site.sink.put([said(caller, "하나만", 80_000, final=False)])
        await expect(lines.last).to_have_text("Caller하나만")
        await expect(lines.last).to_have_class("said caller partial")
        await site.sink.put([said(caller, "하나만 더요.", 80_000), said(callee, "네.", 82_000)])
        await expect(lines.last).to_have_text("Callee네.")
        await expect(card(page).locator(".partial")).to_have_count(0)
        await expect(lines.filter(has_text="하나만")).to_have_text(["Caller하나만 더요."])

    async def test_what_is_said_is_text_and_never_markup(self, visit: Open, site: Site) -> None:
        page = await visit()
        evil = '<img src="x" onerror="alert(1)"><script>alert(2)</script>'
        caller = site.busy["legs"][0]
        caller |= {"name": evil, "last": evil}
        site.busy["rule"] = evil
        site.busy["timeline"][0]["what"] = evil
        await site.sink.put([said(caller, evil, 80_000)])
        await expect(card(page).locator(".words").last).to_have_text(evil)
        await expect(card(page).locator(".rule")).to_have_text(evil)
        await card(page).locator(".title").click()
        await expect(page.locator("#call tbody td").filter(has_text=evil).first).to_be_visible()
        assert await page.locator("main img, main script").count() == 0

    async def test_numbers_of_legs_and_of_the_bridge_are_there(self, visit: Open, site: Site) -> None:
        page = await visit()
        caller = card(page).locator(".leg.caller")
        await expect(caller).to_have_text("Caller김하늘 ***5678streaminghybrid320 ms")
        meter = card(page).get_by_role("meter", name="Level of Caller")
        await expect(meter).to_have_attribute("aria-valuetext", "-24 dB")
        site.busy["legs"][0]["level_db"] = -9.0
        await expect(meter).to_have_attribute("aria-valuenow", "-9")
        figures = page.get_by_role("region", name="The bridge now")
        await expect(figures).to_contain_text("RTZR channels12 / 50")
        await expect(figures).to_contain_text("Cost today₩18,431")
        await expect(page.locator("#ready")).to_have_text("Ready")
        site.book.ready = False
        await expect(page.locator("#ready")).to_have_text("Not ready: the PBX is away")

    async def test_a_call_is_paused_and_goes_on(self, visit: Open, site: Site) -> None:
        page = await visit()
        await card(page).get_by_role("button", name="Pause call").click()
        again = card(page).get_by_role("button", name="Resume call")
        await expect(again).to_be_focused()
        await expect(card(page)).to_contain_text("Paused: no audio is sent or kept")
        await page.keyboard.press("Enter")
        await expect(card(page).get_by_role("button", name="Pause call")).to_be_visible()
        assert site.book.orders == [(BUSY, True), (BUSY, False)]

    async def test_calls_come_and_go(self, visit: Open, site: Site) -> None:
        page = await visit()
        fresh = a_call("1764079999.0001", "예약", 100, [leg("1764079999.0001", "caller", "***7777")])
        site.book.told[fresh["id"]] = fresh
        await expect(page.locator(".card")).to_have_count(7)
        site.book.end(fresh["id"])
        await expect(page.locator(".card")).to_have_count(6)
        row = page.locator("#rows tr").first
        await expect(row).to_contain_text("Caller ***7777")
        await expect(row).to_contain_text("Complete")
        await expect(row).to_contain_text("₩23")
        site.book.told.clear()
        await expect(page.get_by_text("No call is being heard now.")).to_be_visible()

    async def test_recent_calls_are_searched_by_every_word(self, visit: Open) -> None:
        page = await visit()
        await expect(page.locator("#rows tr")).to_have_count(50)
        await page.get_by_role("button", name="Show more").click()
        await expect(page.locator("#rows tr")).to_have_count(60)
        await page.locator("body").press("/")
        search = page.get_by_role("searchbox", name="Search in recent calls")
        await expect(search).to_be_focused()
        await search.fill("예약 partial")
        await expect(page.locator("#found")).to_have_text("3 found")
        await search.fill("공유기")
        await expect(page.locator("#rows tr").first).to_contain_text("기술 지원")
        await search.fill("nobody at all")
        await expect(page.locator("#found")).to_have_text("0 found")

    async def test_a_daemon_that_comes_back_is_found_again(self, visit: Open, site: Site) -> None:
        page = await visit()
        await expect(page.locator(".card")).to_have_count(6)
        await site.down()
        await expect(page.locator("#lost")).to_have_text("The connection is lost. Trying again.")
        site.book.end(QUIET)
        meanwhile = {"text": "그동안 한 말", "start_ms": 81_000, "end_ms": 82_000}
        site.busy["timeline"].append(entry(81_000, "utterance", "said", f"{BUSY}/caller", **meanwhile))
        await site.up()
        await expect(page.locator(".card")).to_have_count(5, timeout=20_000)
        await expect(page.locator("#lost")).to_be_hidden()
        await expect(card(page).locator(".said").last).to_contain_text("그동안 한 말")


class TestCallsOwnPage:
    async def test_the_timeline_is_a_picture_and_a_list(self, visit: Open, site: Site) -> None:
        page = await visit()
        await card(page).get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_be_focused()
        picture = page.get_by_role("img", name="Timeline")
        await expect(picture.locator(".utterance.caller")).to_have_count(4)
        await expect(picture.locator("rect.gap")).to_have_count(1)
        await expect(picture.locator("rect.session")).to_have_count(3)
        await expect(picture.locator("rect.paused")).to_have_count(2)
        entries = page.get_by_role("region", name="What happened").last.locator("tbody tr")
        await expect(entries).to_have_count(len(site.busy["timeline"]))
        await page.get_by_label("Utterances").uncheck()
        await expect(entries).to_have_count(len(site.busy["timeline"]) - 8)
        await expect(page.locator("#call")).to_contain_text("received 4,200, late 3")
        await expect(page.locator("#call .facts")).to_contain_text("To delivercrm 3 (HTTP 503)")

    async def test_it_goes_on_while_the_call_does(self, visit: Open, site: Site) -> None:
        page = await visit(at=f"#/call/{BUSY}")
        lines = page.get_by_role("region", name="Conversation").locator(".said")
        await expect(lines).to_have_count(8)
        await site.sink.put([said(site.busy["legs"][0], "끝으로 하나 더", 83_000)])
        await expect(lines.last).to_contain_text("끝으로 하나 더")
        await page.get_by_role("button", name="Pause call").click()
        await expect(page.get_by_text("Paused: no audio is sent or kept")).to_be_visible()
        site.book.end(BUSY)
        await expect(page.locator(".facts")).to_contain_text("Complete")
        await expect(page.locator("#call .pause")).to_be_hidden()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("heading", name="Calls in progress")).to_be_focused()

    async def test_what_happened_is_told_in_korean(self, visit: Open, site: Site) -> None:
        site.busy["timeline"] = [
            entry(0, "pbx", "calls", f"{BUSY}/caller"),
            entry(5, "pbx", "dialled: noanswer", f"{BUSY}/callee"),
            entry(
                10, "session", "session opened", f"{BUSY}/caller", ms=9, wait_ms=2, token_ms=3, connect_ms=4
            ),
            entry(
                20, "gap", "audio lost", f"{BUSY}/caller", start_ms=20, end_ms=2320, ms=2300, reason="ring"
            ),
            entry(30, "packets", "packets in all", f"{BUSY}/caller", received=1102, lost=2),
            entry(40, "order", "paused", paused=True, by="page", who="kim"),
            entry(50, "pbx", "hung up", f"{BUSY}/caller", cause="cause 17", means="busy"),
            entry(55, "order", "refused: lag"),
            entry(60, "pbx", "of a daemon that is newer", f"{BUSY}/caller", speed="high"),
        ]
        page = await visit(locale="ko-KR", at=f"#/call/{BUSY}")
        cells = page.locator("#call section").last.locator("tbody td:last-child")
        await expect(cells).to_have_text(
            [
                "전화를 걺",
                "호출 결과: 받지 않음",
                "세션 열림9 ms: 채널 대기 2, 토큰 3, 연결 4",
                "음성 손실2.3 초, 보관 한도를 넘김",
                "패킷 합계받음 1,102, 손실 2",
                "일시정지이 페이지에서 (kim)",
                "끊음통화 중",
                "받지 않음: 루프가 늦음",
                "of a daemon that is newerspeed high",
            ]
        )
        await expect(cells.last.locator("span").first).to_have_attribute("lang", "en")
        await page.get_by_label("언어").select_option("en")
        await expect(cells.nth(5)).to_have_text("pausedon the page (kim)")

    async def test_a_part_of_an_id_is_enough_and_goes_on(self, visit: Open, site: Site) -> None:
        page = await visit(at=f"#/call/{BUSY[:-1]}")
        await expect(page).to_have_url(f"{site.url}#/call/{BUSY}")
        await site.sink.put([said(site.busy["legs"][0], "그런데요", 83_000)])
        await expect(page.get_by_role("region", name="Conversation")).to_contain_text("그런데요")

    async def test_a_call_that_is_not_there_is_told(self, visit: Open) -> None:
        page = await visit(at="#/call/9.9")
        await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such call.")
        await page.get_by_role("link", name="All calls").click()
        await expect(page.locator(".card")).to_have_count(6)


class TestForEverybody:
    async def test_the_browsers_language_and_what_is_chosen(self, visit: Open) -> None:
        page = await visit(locale="ko-KR")
        await expect(page.get_by_role("heading", name="진행 중인 통화")).to_be_visible()
        assert await page.locator("html").get_attribute("lang") == "ko"
        await expect(card(page).locator(".leg.caller")).to_contain_text("발신")
        await page.get_by_label("언어").select_option("en")
        await expect(page.get_by_role("heading", name="Calls in progress")).to_be_visible()
        await expect(card(page).locator(".leg.caller")).to_contain_text("Caller")
        await page.reload()
        await expect(page.get_by_role("heading", name="Calls in progress")).to_be_visible()

    async def test_every_word_is_in_both_languages(self, visit: Open) -> None:
        page = await visit(locale="ko-KR", at=f"#/call/{BUSY}")
        await expect(page.get_by_role("img", name="타임라인")).to_be_visible()
        left = await page.evaluate(
            """() => [...document.querySelectorAll("[data-word], [data-label], th, dt, button")]
              .map((node) => node.textContent.trim())
              .filter((text) => text && !/[가-힣]/.test(text) && !/^(PBX|VAD|ID|English)$/.test(text))"""
        )
        assert left == []

    async def test_the_keyboard_goes_everywhere_in_order(self, visit: Open) -> None:
        page = await visit()
        await page.reload()
        await expect(page.locator(".card")).to_have_count(6)
        passed = []
        for _ in range(8):
            await page.keyboard.press("Tab")
            passed.append(
                await page.evaluate(
                    "document.activeElement.id || document.activeElement.className.split(' ')[0]"
                )
            )
        assert passed == ["skip", "brand", "language", "theme", "logout", "title", "pause", "title"]
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Call 17640…0.0020")).to_be_focused()

    async def test_finals_alone_are_read_out_and_of_one_call(self, visit: Open, site: Site) -> None:
        page = await visit(at=f"#/call/{BUSY}")
        heard = page.get_by_role("log", name="What was said")
        await expect(heard).to_have_attribute("aria-live", "polite")
        caller, other = site.busy["legs"][0], site.book.told[QUIET]["legs"][0]
        await site.sink.put([said(caller, "아직", 80_000, final=False), said(other, "다른 통화", 10_000)])
        await site.sink.put([said(caller, "다 말했습니다.", 80_000)])
        await expect(heard).to_have_text("Caller: 다 말했습니다.")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    async def test_names_and_contrast(self, visit: Open, scheme: str) -> None:
        page = await visit(color_scheme=scheme)
        await expect(page.locator(".card")).to_have_count(6)
        assert await page.evaluate(NAMELESS) == []
        assert await page.evaluate(FAINT) == []
        await card(page).locator(".title").click()
        await expect(page.locator(".picture svg")).to_be_visible()
        assert await page.evaluate(NAMELESS) == []
        assert await page.evaluate(FAINT) == []

    async def test_a_choice_of_colours_is_kept(self, visit: Open) -> None:
        page = await visit(color_scheme="light")
        await page.get_by_label("Colours").select_option("dark")
        ground = "getComputedStyle(document.body).backgroundColor"
        assert await page.evaluate(ground) == "rgb(14, 17, 21)"
        await page.reload()
        assert await page.evaluate(ground) == "rgb(14, 17, 21)"

    async def test_a_telephone_shows_it_without_scrolling_sideways(self, visit: Open) -> None:
        page = await visit(viewport={"width": 390, "height": 800})
        await expect(page.locator(".card")).to_have_count(6)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await card(page).locator(".title").click()
        await expect(page.get_by_role("img", name="Timeline")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    @pytest.mark.parametrize("width", [480, 900, 960, 1400])
    async def test_a_card_holds_all_it_has(self, visit: Open, width: int) -> None:
        page = await visit(viewport={"width": width, "height": 800}, locale="ko-KR")
        await expect(page.locator(".card")).to_have_count(6)
        wide = "(nodes) => nodes.filter((node) => node.scrollWidth > node.clientWidth).length"
        assert await page.locator(".card .legs, .card .leg").evaluate_all(wide) == 0


@pytest.mark.parametrize(("locale", "scheme"), [("ko-KR", "light"), ("en-GB", "dark")])
async def test_pictures_are_taken(visit: Open, site: Site, locale: str, scheme: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page = await visit(locale=locale, color_scheme=scheme)
    await expect(page.locator(".card")).to_have_count(6)
    await expect(card(page).locator(".said")).to_have_count(6)
    await site.sink.put([said(site.busy["legs"][0], "그리고 한 가지 더", 83_000, final=False)])
    await expect(card(page).locator(".partial")).to_be_visible()
    await page.evaluate("document.activeElement.blur()")
    await asyncio.gather(
        *(
            one.evaluate("(node) => node.getAnimations().map((a) => a.finish())")
            for one in await page.locator(".meter i").all()
        )
    )
    name = f"{locale[:2]}-{scheme}.png"
    await page.screenshot(path=PICTURES / name)
    await card(page).locator(".title").click()
    await expect(page.get_by_role("img")).to_be_visible()
    await page.evaluate("document.activeElement.blur()")
    await page.screenshot(path=PICTURES / f"call-{name}")
    assert (PICTURES / name).stat().st_size > 50_000


NAMELESS = """() => {
  const named = (ids) => ids.split(" ").some((id) => document.getElementById(id)?.textContent);
  const kinds = "a, button, input, select, [role=meter], [role=region], [role=img]";
  return [...document.querySelectorAll(kinds)]
    .filter((node) => node.checkVisibility())
    .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length
      || named(node.getAttribute("aria-labelledby") ?? "")))
    .map((node) => node.outerHTML);
}"""
"""What can be reached and has no name for who does not see it."""

FAINT = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("body *:not(svg *, option, noscript)")]
    .filter((node) => node.checkVisibility())
    .filter((node) => [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim()))
    .map((node) => {
      const [one, other] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
      return [(one + 0.05) / (other + 0.05), node.className, node.textContent.slice(0, 30)];
    })
    .filter(([contrast]) => contrast < 4.5);
}"""
"""Text that is fainter than WCAG 2.2 AA has it."""
