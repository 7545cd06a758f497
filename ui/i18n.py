"""Every text of the page, in English and Chinese: one table for Gradio's components, our HTML and our JavaScript."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

# key → (English, Chinese). `{name}` marks what is filled in.
TABLE: dict[str, tuple[str, str]] = {
    # the frame
    "app.tagline": ("Runs on this machine. Nothing leaves it.", "在本机运行，数据不会离开这台电脑。"),
    "skip": ("Skip to the message box", "跳到输入框"),
    "sidebar.label": ("Conversations", "对话"),
    "sidebar.open": ("Show conversations", "显示对话列表"),
    "sidebar.close": ("Hide conversations", "隐藏对话列表"),
    "new": ("New chat", "新对话"),
    "search": ("Search chats", "搜索对话"),
    "search.none": ("Nothing found for “{query}”.", "没有找到“{query}”。"),
    "search.results": ("Found", "搜索结果"),
    "import": ("Import", "导入"),
    "import.done": ("Conversation imported.", "对话已导入。"),
    "settings": ("Settings", "设置"),
    "help": ("Shortcuts", "快捷键"),
    "close": ("Close", "关闭"),
    "cancel": ("Cancel", "取消"),
    "theme": ("Switch between light, dark and the system's choice", "切换浅色、深色或跟随系统"),
    "theme.system": ("Theme: as the system", "主题：跟随系统"),
    "theme.light": ("Theme: light", "主题：浅色"),
    "theme.dark": ("Theme: dark", "主题：深色"),
    # conversations
    "untitled": ("New chat", "新对话"),
    "today": ("Today", "今天"),
    "yesterday": ("Yesterday", "昨天"),
    "week": ("Previous 7 days", "过去 7 天"),
    "older": ("Older", "更早"),
    "none": ("Your conversations will be kept here.", "对话会保存在这里。"),
    "menu": ("Options for “{title}”", "“{title}”的选项"),
    "rename": ("Rename", "重命名"),
    "export": ("Export", "导出"),
    "delete": ("Delete", "删除"),
    "delete.title": ("Delete this conversation?", "删除这个对话？"),
    "delete.text": (
        "“{title}” and its files are erased from this machine. This cannot be undone.",
        "“{title}”及其文件将从本机彻底删除，无法恢复。",
    ),
    "clear": ("Clear messages", "清空消息"),
    "clear.title": ("Clear this conversation?", "清空这个对话？"),
    "clear.text": ("All its messages are erased. This cannot be undone.", "其中的消息将全部删除，无法恢复。"),
    "earlier": ("Show earlier messages", "显示更早的消息"),
    "latest": ("To the newest message", "回到最新消息"),
    # welcome
    "welcome.title": ("What shall we look at?", "今天想聊点什么？"),
    "welcome.text": (
        "Ask, talk, or drop in a picture, a recording or a clip.",
        "提问、说话，或拖入图片、录音、视频。内置模型目前只懂英文。",
    ),
    # What an example asks is English in both: the embedded model understands nothing else.
    "example.1": ("What is the capital of France?", "用英文问：法国的首都是哪里？"),
    "example.1.text": ("What is the capital of France?", "What is the capital of France?"),
    "example.2": ("Describe a picture", "描述一张图片"),
    "example.2.text": ("What is in this picture?", "What is in this picture?"),
    "example.3": ("Explain how rainbows form", "用英文问：彩虹是怎样形成的？"),
    "example.3.text": ("Explain how rainbows form", "Explain how rainbows form"),
    "example.4": ("Ask by voice", "用语音提问"),
    # composer
    "composer": ("Message Lucid", "给 Lucid 发消息"),
    "composer.label": ("Your message", "你的消息"),
    "attach": ("Add pictures, sound or video", "添加图片、声音或视频"),
    "camera": ("Take a picture with the webcam", "用摄像头拍照"),
    "camera.take": ("Take picture", "拍照"),
    "camera.denied": (
        "The webcam cannot be used: allow it in the browser's address bar and try again.",
        "无法使用摄像头：请在浏览器地址栏中允许后重试。",
    ),
    "mic": ("Dictate", "语音输入"),
    "mic.stop": ("Finish dictating", "结束语音输入"),
    "mic.listening": ("Listening", "正在聆听"),
    "mic.working": ("Writing down what you said…", "正在转成文字…"),
    "mic.nothing": ("No speech was heard.", "没有听到语音。"),
    "mic.denied": (
        "The microphone cannot be used: allow it in the browser's address bar and try again.",
        "无法使用麦克风：请在浏览器地址栏中允许后重试。",
    ),
    "send": ("Send", "发送"),
    "stop": ("Stop", "停止"),
    "remove": ("Remove {name}", "移除 {name}"),
    "drop": ("Drop pictures, sound or video here", "将图片、声音或视频拖到这里"),
    "hint": ("Lucid can be wrong. Check what matters.", "Lucid 可能出错，重要内容请自行核实。"),
    "waiting": ("Wait for the answer, or stop it first.", "请等待回答完成，或先停止。"),
    "broke": (
        "Something went wrong inside Lucid ({kind}). The terminal says more.",
        "Lucid 内部出错（{kind}）。终端中有更多信息。",
    ),
    "lost": ("Lucid does not answer. Is it still running?", "Lucid 没有响应，它还在运行吗？"),
    "lost.late": ("Lucid is here again.", "Lucid 已恢复连接。"),
    # messages
    "play": ("Read aloud", "朗读"),
    "play.stop": ("Stop reading", "停止朗读"),
    "copy": ("Copy", "复制"),
    "copied": ("Copied", "已复制"),
    "regenerate": ("Answer again", "重新回答"),
    "edit": ("Edit", "编辑"),
    "edit.send": ("Send", "发送"),
    "details": ("Details", "详情"),
    "thinking": ("Thinking", "思考中"),
    "stopped": ("Stopped", "已停止"),
    "interrupted": ("Interrupted: Lucid was closed while answering.", "已中断：回答时 Lucid 被关闭。"),
    "failed": ("This did not work.", "出了点问题。"),
    "heard": ("Heard in {source}", "{source} 中的语音"),
    "heard.nothing": ("no speech", "没有语音"),
    "answered": ("Lucid answered: {text}", "Lucid 回答：{text}"),
    "picture": ("Picture {name}", "图片 {name}"),
    "enlarge": ("Enlarge {name}", "放大 {name}"),
    "details.speed": ("{rate} tokens/s", "每秒 {rate} 个词元"),
    "details.first": ("first word after {seconds} s", "{seconds} 秒出首字"),
    "seen.title": ("What I looked at", "我看到了什么"),
    "seen.object": ("Recognised", "识别"),
    "seen.word": ("Words that fit", "相符的词"),
    "seen.text": ("Read", "文字"),
    "seen.colour": ("Colours", "颜色"),
    "seen.size": (
        "{width} × {height}, seen at {model_width} × {model_height}",
        "{width} × {height}，以 {model_width} × {model_height} 观看",
    ),
    "seen.time": ("at {seconds} s", "第 {seconds} 秒"),
    "colour.black": ("black", "黑色"),
    "colour.white": ("white", "白色"),
    "colour.grey": ("grey", "灰色"),
    "colour.red": ("red", "红色"),
    "colour.orange": ("orange", "橙色"),
    "colour.yellow": ("yellow", "黄色"),
    "colour.green": ("green", "绿色"),
    "colour.blue": ("blue", "蓝色"),
    "colour.purple": ("purple", "紫色"),
    "colour.pink": ("pink", "粉色"),
    "colour.brown": ("brown", "棕色"),
    # settings
    "set.answers": ("Answers", "回答"),
    "set.hearing": ("Hearing", "听写"),
    "set.speaking": ("Speaking", "朗读"),
    "set.engine": ("Model", "模型"),
    "set.engine.type": ("Or type a name: {names}", "也可以输入名称：{names}"),
    "pick.fits": ("fits: {precision}, {device}", "可运行：{precision}，{device}"),
    "pick.large": (
        "does not fit: needs {needed} GB, {free} GB are free ({device})",
        "放不下：需要 {needed} GB，可用 {free} GB（{device}）",
    ),
    "pick.nodevice": ("the device {device} is not there", "没有设备 {device}"),
    "pick.here": ("downloaded", "已下载"),
    "pick.fetch": ("not downloaded yet", "尚未下载"),
    "pick.chinese": ("Chinese too", "支持中文"),
    "pick.english": ("no Chinese", "不支持中文"),
    "pick.gated": ("{licence}, to be accepted on the hub", "{licence}（需先在模型库网站接受）"),
    "device.cuda": ("GPU", "显卡"),
    "device.xpu": ("Intel GPU", "英特尔显卡"),
    "device.mps": ("Apple GPU", "苹果显卡"),
    "device.cpu": ("processor", "处理器"),
    "loading.cancel": ("Cancel", "取消加载"),
    "loading.meanwhile": ("{name} answers meanwhile.", "在此期间由 {name} 回答。"),
    "set.sampling": ("How answers are drawn", "采样设置"),
    "set.sampling.usual": ("Back to the usual", "恢复默认"),
    "set.temperature": ("Temperature", "温度"),
    "set.temperature.info": (
        "0 takes the likeliest word every time; more is more varied",
        "0 总是取最可能的词；越大越多样",
    ),
    "set.top_p": ("Top-p", "Top-p（核采样）"),
    "set.top_p.info": (
        "Only the likeliest words that together have this probability",
        "只从合计达到此概率的最可能的词中选取",
    ),
    "set.top_k": ("Top-k", "Top-k（候选数）"),
    "set.top_k.info": ("Only so many of the likeliest words; 0: all", "只从最可能的若干个词中选取；0 表示全部"),
    "set.min_p": ("Min-p", "Min-p（最低概率）"),
    "set.min_p.info": (
        "Only words at least so likely, as a share of the likeliest",
        "只取概率不低于最可能的词的此比例的词",
    ),
    "set.repetition_penalty": ("Repetition penalty", "重复惩罚"),
    "set.repetition_penalty.info": ("Above 1, words are repeated less", "大于 1 时减少重复"),
    "set.max_new_tokens": ("Longest answer, in tokens", "回答最多词元数"),
    "set.max_new_tokens.info": ("A token is about three quarters of a word", "一个词元约为一个汉字或大半个单词"),
    "set.seed": ("Seed", "随机种子"),
    "set.seed.info": (
        "The same seed draws the same answer; -1: a fresh one",
        "相同的种子得到相同的回答；-1 表示每次不同",
    ),
    "set.voice": ("Voice", "音色"),
    "set.voice.default": ("The model's own", "模型默认"),
    "set.speed": ("Speed", "语速"),
    "set.speak": ("Speak answers as they are written", "边写边朗读回答"),
    "set.dictation": ("After dictating", "语音输入后"),
    "set.dictation.edit": ("Put the words in the box, to edit", "填入输入框以便修改"),
    "set.dictation.send": ("Send at once", "立即发送"),
    "set.persona": ("Persona", "角色"),
    "set.prompt": ("System prompt of this conversation", "此对话的系统提示"),
    "set.prompt.place": ("How should Lucid answer?", "希望 Lucid 如何回答？"),
    "set.persona.name": ("New persona", "新角色名称"),
    "set.persona.save": ("Keep", "保存"),
    "set.persona.delete": ("Remove", "删除"),
    "set.prompt.apply": ("Use in this conversation", "用于此对话"),
    "set.saved": ("Saved.", "已保存。"),
    "speak.on": ("Speak answers: on", "朗读回答：开"),
    "speak.off": ("Speak answers: off", "朗读回答：关"),
    "persona.plain": ("Plain", "默认"),
    "persona.brief": ("Brief", "简洁"),
    "persona.teacher": ("Patient teacher", "耐心的老师"),
    "persona.describer": ("Describer", "描述者"),
    "persona.brief.text": ("Answer in one or two plain sentences.", "用一两句话简单回答。"),
    "persona.teacher.text": (
        "You are a patient teacher. Explain step by step with one everyday example.",
        "你是一位耐心的老师。请一步一步讲解，并举一个生活中的例子。",
    ),
    "persona.describer.text": (
        "You describe pictures for someone who cannot see them: what matters first, then details, then any text.",
        "你为看不见图片的人描述图片：先说重点，再说细节，最后读出文字。",
    ),
    # engines
    "engine.seeing": ("Thinks", "思考"),
    "engine.hearing": ("Hears", "聆听"),
    "engine.speaking": ("Speaks", "说话"),
    "engine.cold": ("not loaded yet", "尚未加载"),
    "engine.loading": ("loading", "加载中"),
    "engine.ready": ("ready", "就绪"),
    "engine.failed": ("not available", "不可用"),
    # help
    "key.send": ("Send", "发送"),
    "key.line": ("New line", "换行"),
    "key.stop": ("Stop the answer and the voice; close what is open", "停止回答与朗读；关闭弹窗"),
    "key.search": ("Search conversations", "搜索对话"),
    "key.new": ("New chat", "新对话"),
    "key.help": ("This help", "显示此帮助"),
}


def translations(language: Language) -> dict[str, str]:
    """The whole table in one language."""
    column = LANGUAGES.index(language)
    return {key: texts[column] for key, texts in TABLE.items()}


def language_of(tag: str) -> Language:
    """The language that we have for a browser's tag ("zh-CN", "de"): Chinese for Chinese, English for all else."""
    return "zh" if tag.lower().startswith("zh") else "en"


def text(key: str, language: Language, **values: object) -> str:
    """One text, filled in. Raises `KeyError` for a key that is not in the table."""
    found = TABLE[key][LANGUAGES.index(language)]
    return found.format(**values) if values else found
