"""What engines, media and store say to the owner, with the Chinese for it: one table, read by ui/owner_sentences.py.

A sentence is written as it is made, with `{gaps}`; the Chinese has the same gaps.
"""

from __future__ import annotations

from ui.sentences_zh_memory import MEMORY
from ui.sentences_zh_models import MODELS
from ui.sentences_zh_servers import SERVERS

# Read from top to bottom: the narrower pattern first.
CHINESE: tuple[tuple[str, str], ...] = (
    # progress
    ("Listening", "正在聆听"),
    ("Ready", "就绪"),
    ("Unpacking {model} (once)", "正在解压 {model}（仅此一次）"),
    ("Joining the parts of {model} (once)", "正在合并 {model} 的各部分（仅此一次）"),
    ("Fetching {model} (once)", "正在下载 {model}（仅此一次）"),
    ("Looking for {model}", "正在查找 {model}"),
    ("Loading the voice {voice}", "正在加载语音 {voice}"),
    ("Loading {model}", "正在加载 {model}"),
    ("Reading the weights of {model}", "正在读取 {model} 的权重"),
    ("Moving {model} to its place", "正在把 {model} 移到设备上"),
    # what was typed and sent
    ("There is nothing to answer.", "没有可以回答的内容。"),
    ("There was nothing to send.", "没有可以发送的内容。"),
    ("There is nothing in this text that could be said aloud.", "这段文字中没有可以朗读的内容。"),
    ("Send words.", "请发送文字。"),
    ("There was no file in the request.", "请求中没有文件。"),
    ("Type a question, or attach a picture, a recording or a video.", "请输入问题，或添加图片、录音或视频。"),
    ("Type a question, or add a picture, sound or video.", "请输入问题，或添加图片、声音或视频。"),
    ("An attachment is no longer here.", "有一个附件已不在这里。"),
    ("Add it once more.", "请重新添加。"),
    (
        "This question is longer than {model} can take in ({tokens} tokens).",
        "这个问题超出了 {model} 能接收的长度（{tokens} 个词元）。",
    ),
    (
        "Shorten it, attach less, or choose a model with a longer context.",
        "请缩短问题、减少附件，或选择上下文更长的模型。",
    ),
    (
        "The conversation takes {tokens} tokens, and the model reads at most {most}.",
        "这段对话有 {tokens} 个词元，而模型最多读取 {most} 个。",
    ),
    ("Shorten the question or start a new conversation.", "请缩短问题，或开始新对话。"),
    # files of any kind
    ("{name} is larger than {size} MB.", "{name} 超过 {size} MB。"),
    ("Send a smaller file.", "请发送较小的文件。"),
    ("{name} is empty.", "{name} 是空文件。"),
    ("Send another file.", "请发送别的文件。"),
    ("Send the file again; it may not have been saved completely.", "请重新发送；文件可能没有保存完整。"),
    ("“{name}” cannot be read: {reason}.", "无法读取“{name}”：{reason}。"),
    ("“{name}” is not there, or is not a file.", "“{name}”不存在，或不是文件。"),
    ("“{name}” is neither a picture nor sound nor a video.", "“{name}”既不是图片，也不是声音或视频。"),
    ("Send JPEG, PNG, MP3, WAV, MP4 …", "请发送 JPEG、PNG、MP3、WAV、MP4 等格式。"),
    (
        "“{name}” takes longer than {seconds} seconds to decode, so it was given up.",
        "“{name}”解码超过 {seconds} 秒，已放弃。",
    ),
    ("Save it again in a common format, or smaller, and send that.", "请另存为常见格式或较小的文件后再发送。"),
    ("Save it smaller, as JPEG for example.", "请缩小后保存，例如存为 JPEG。"),
    ("Save it smaller and send that.", "请缩小后再发送。"),
    ("Save it again and send that.", "请重新保存后再发送。"),
    ("Save it again as JPEG.", "请另存为 JPEG。"),
    ("Send it again.", "请重新发送。"),
    ("Record or save it again.", "请重新录制或保存。"),
    # pictures
    ("“{name}” needs more memory than there is.", "内存不足，无法打开“{name}”。"),
    (
        "“{name}” has {width} × {height} pixels; more than {most} megapixels are not read.",
        "“{name}”有 {width} × {height} 像素；超过 {most} 百万像素的图像无法读取。",
    ),
    (
        "“{name}” has over {most} megapixels, too many for its file format.",
        "“{name}”超过 {most} 百万像素，对这种格式来说太大。",
    ),
    ("Save it as PNG or JPEG and send that.", "请另存为 PNG 或 JPEG 后再发送。"),
    (
        "“{name}” is built to keep its decoder busy, so it was not read.",
        "“{name}”会让解码器陷入长时间运算，因此没有读取。",
    ),
    ("“{name}” has far more than {most} megapixels.", "“{name}”远超 {most} 百万像素。"),
    ("“{name}” is not a picture that can be read.", "“{name}”不是可以读取的图片。"),
    ("Send it as JPEG, PNG, WebP or GIF.", "请以 JPEG、PNG、WebP 或 GIF 格式发送。"),
    ("“{name}” is cut off: the end of the picture is missing.", "“{name}”不完整：图片末尾缺失。"),
    ("Send the complete file again.", "请重新发送完整的文件。"),
    ("“{name}” is damaged and cannot be decoded as a picture.", "“{name}”已损坏，无法解码为图片。"),
    (
        "“{name}” is a HEIC picture, and the package that reads those is not installed.",
        "“{name}”是 HEIC 图片，而读取它的软件包没有安装。",
    ),
    (
        "Run: pip install pillow-heif (or send the picture as JPEG).",
        "请运行：pip install pillow-heif（或以 JPEG 格式发送）。",
    ),
    ("“{name}” is a picture, not a video.", "“{name}”是图片，不是视频。"),
    ("Send it as a picture.", "请作为图片发送。"),
    # sound and video
    (
        "“{name}” is not a sound or video file that can be read; it may be damaged or of another kind.",
        "“{name}”不是可以读取的声音或视频文件；它可能已损坏，或是别的格式。",
    ),
    ("Send it as WAV, MP3, FLAC, MP4 or WebM.", "请以 WAV、MP3、FLAC、MP4 或 WebM 格式发送。"),
    ("“{name}” has no sound.", "“{name}”没有声音。"),
    ("“{name}” says that it has no channels, so there is nothing to hear.", "“{name}”标明没有声道，所以没有声音。"),
    (
        "“{name}” says that it has {rate} samples per second, which no recording has.",
        "“{name}”标明每秒 {rate} 个采样，录音不会是这样。",
    ),
    ("“{name}” is longer than {length} minutes.", "“{name}”超过 {length} 分钟。"),
    ("“{name}” is longer than {length} seconds.", "“{name}”超过 {length} 秒。"),
    ("Send a shorter part of it, or several parts.", "请发送较短的一段，或分成几段。"),
    ("Send a shorter part of it.", "请发送较短的一段。"),
    ("“{name}” holds no sound that can be decoded; it may be damaged.", "“{name}”中没有可以解码的声音；它可能已损坏。"),
    ("“{name}” takes too long to decode.", "“{name}”解码耗时过长。"),
    ("Save it as WAV or MP3 and send that.", "请另存为 WAV 或 MP3 后再发送。"),
    ("“{name}” has sound but no moving picture.", "“{name}”有声音，但没有画面。"),
    ("“{name}” has no moving picture.", "“{name}”没有画面。"),
    ("“{name}” holds no frame that can be decoded; it may be damaged.", "“{name}”中没有可以解码的画面；它可能已损坏。"),
    ("I heard no speech in the recording.", "录音中没有听到语音。"),
    ("Record it again closer to the microphone, or type.", "请靠近麦克风重新录音，或直接输入。"),
    # notes
    ("{source}: animated: only its first frame is used", "{source}：动图，只使用第一帧"),
    ("animated: only its first frame is used", "动图，只使用第一帧"),
    ("{source}: several pages: only the first is used", "{source}：有多页，只使用第一页"),
    ("several pages: only the first is used", "有多页，只使用第一页"),
    ("{source}: its sound could not be decoded", "{source}：声音无法解码"),
    (
        "{source}: damaged or cut off: only its first {seconds} seconds could be read",
        "{source}：已损坏或不完整，只能读取前 {seconds} 秒",
    ),
    (
        "{source}: slow to decode: only {taken} of {wanted} frames were taken",
        "{source}：解码缓慢，{wanted} 帧中只取了 {taken} 帧",
    ),
    # engines
    ("The model ran out of memory.", "模型内存不足。"),
    (
        "Shorten the conversation, close other programs, or choose a smaller model.",
        "请缩短对话、关闭其他程序，或选择较小的模型。",
    ),
    *MEMORY,
    ("The model failed: {reason}.", "模型出错：{reason}。"),
    ("Ask again; restart Lucid if it repeats.", "请再问一次；如果仍然出错，请重启 Lucid。"),
    ("Something went wrong inside Lucid ({reason}).", "Lucid 内部出错（{reason}）。"),
    (
        "Ask again; if it stays, start Lucid with --log-level debug and look at the terminal.",
        "请再问一次；如果仍然出错，请用 --log-level debug 启动 Lucid 并查看终端。",
    ),
    ("There is not enough memory to transcribe this.", "内存不足，无法转写这段录音。"),
    ("Send a shorter recording.", "请发送较短的录音。"),
    ("The speech recogniser {name} broke while it listened ({reason}).", "语音识别 {name} 在聆听时出错（{reason}）。"),
    ("Try again, or choose another one with --hearing.", "请重试，或用 --hearing 选择另一个。"),
    ("Recognising the picture failed: {reason}.", "识别图片时出错：{reason}。"),
    ("Reading the text in the picture failed: {reason}.", "读取图片中的文字时出错：{reason}。"),
    ("The picture {name} could not be looked at: {reason}.", "无法查看图片 {name}：{reason}。"),
    ("The voice {voice} broke while it spoke ({reason}).", "语音 {voice} 在朗读时出错（{reason}）。"),
    ("Choose another voice, or send the text again.", "请选择另一个音色，或重新发送文字。"),
    (
        "The voice {voice} speaks {language} and cannot say {other}.",
        "语音 {voice} 只会说{language}，无法朗读{other}。",
    ),
    (
        "The engine {engine} speaks {count} languages, Chinese included; or choose a Piper voice of that language with "
        "{option}.",
        "引擎 {engine} 会说 {count} 种语言，包括中文；也可以用 {option} 选择该语言的 Piper 语音。",
    ),
    ("There is no voice named {name}.", "没有名为 {name} 的音色。"),
    ("Voices are: {names}.", "可用的音色：{names}。"),
    ("The speech speed is {speed}.", "语速为 {speed}。"),
    ("Use a number from {least} to {most}.", "请使用 {least} 到 {most} 之间的数。"),
    ("{name} does not speak {language}.", "{name} 不会说 {language}。"),
    ("Its languages: {names}.", "它会的语言：{names}。"),
    # engines that are not there
    ("There is no vision-language model named {name}.", "没有名为 {name} 的视觉语言模型。"),
    ("There is no speech recogniser called “{name}”.", "没有名为“{name}”的语音识别模型。"),
    ("There is no speech engine named {name}.", "没有名为 {name} 的语音引擎。"),
    ("There is no Piper voice named {name}.", "没有名为 {name} 的 Piper 语音。"),
    (
        "Use {packaged}, or {option} with the path of a voice from the Piper project.",
        "请使用 {packaged}，或用 {option} 指定 Piper 项目中语音文件的路径。",
    ),
    ("Choose one of: {names}.", "请选择其中之一：{names}。"),
    ("The Piper voice file {file} is not there.", "Piper 语音文件 {file} 不存在。"),
    ("Check the path of the voice.", "请检查语音文件的路径。"),
    ("{name} is not a Piper voice that can be read ({reason}).", "{name} 不是可以读取的 Piper 语音（{reason}）。"),
    ("Fetch the voice again.", "请重新下载该语音。"),
    ("openai-whisper has no model “{name}”.", "openai-whisper 没有模型“{name}”。"),
    ("The weights of {name} are not on this machine.", "{name} 的权重不在本机上。"),
    (
        "The weights of {name} are not on this machine or cannot be read ({reason}).",
        "{name} 的权重不在本机上，或无法读取（{reason}）。",
    ),
    (
        "Start once without --offline so that they are downloaded, or use {option}.",
        "请不带 --offline 启动一次以便下载，或使用 {option}。",
    ),
    ("The weights of {name} could not be fetched ({reason}).", "无法下载 {name} 的权重（{reason}）。"),
    (
        "Check the network and try again; if a download was cut off, delete {folder} first.",
        "请检查网络后重试；如果下载曾中断，请先删除 {folder}。",
    ),
    ("Coqui TTS knows no model named {name}.", "Coqui TTS 没有名为 {name} 的模型。"),
    ("Perhaps you mean {names}.", "您要的也许是 {names}。"),
    ("Coqui TTS cannot be used: {reason}.", "无法使用 Coqui TTS：{reason}。"),
    ("Piper cannot be used: {reason}.", "无法使用 Piper：{reason}。"),
    ("{name} is neither a folder nor the name of a Coqui model.", "{name} 既不是文件夹，也不是 Coqui 模型的名称。"),
    ("Names look like {example}.", "名称的形式如 {example}。"),
    ("{name} could not be loaded: {reason}.", "无法加载 {name}：{reason}。"),
    ("Run python3 launch.py doctor to see what is missing.", "请运行 python3 launch.py doctor 查看缺少什么。"),
    ("The weights package {name} is not installed.", "权重软件包 {name} 没有安装。"),
    ("The package {name} is not installed.", "软件包 {name} 没有安装。"),
    ("{name} is not installed.", "{name} 没有安装。"),
    ("Silero VAD, which tells speech from noise, is missing.", "缺少区分语音与噪声的 Silero VAD。"),
    ("PyAV, which reads sound and video, is missing.", "缺少读取声音和视频的 PyAV。"),
    ("Run: python3 launch.py (it installs what is missing).", "请运行：python3 launch.py（它会安装缺少的部分）。"),
    ("Run: {command}", "请运行：{command}"),
    ("There are no Glimpse weights in {folder}.", "{folder} 中没有 Glimpse 的权重。"),
    ("Train some: {command} ({page}).", "请训练：{command}（{page}）。"),
    ("The attention could not be computed: {reason}.", "无法计算注意力：{reason}。"),
    ("{model} understands English only, and this is {language}.", "{model} 只懂英语，而这是{language}。"),
    ("Ask in English.", "请用英语提问。"),
    ("The tokenizer of {name} has no {token}.", "{name} 的分词器缺少 {token}。"),
    ("Delete Lucid's cache folder.", "请删除 Lucid 的缓存文件夹。"),
    # Coqui
    (
        "The weights of {name} are not on this machine, and Lucid runs offline.",
        "{name} 的权重不在本机上，而 Lucid 处于离线模式。",
    ),
    (
        "Start once without --offline to download them, or choose {option}.",
        "请不带 --offline 启动一次以便下载，或选择 {option}。",
    ),
    (
        "The folder {folder} has no Coqui model in it: {file} is missing.",
        "文件夹 {folder} 中没有 Coqui 模型：缺少 {file}。",
    ),
    (
        "Name a folder that holds {file} and a checkpoint, or a model as {example}.",
        "请指定含有 {file} 和检查点的文件夹，或按 {example} 的形式写出模型。",
    ),
    (
        "The folder {folder} holds {count} checkpoints where one is needed.",
        "文件夹 {folder} 中有 {count} 个检查点，而只需要一个。",
    ),
    ("Name the one to use {file} (or one of {names}).", "请把要用的那个命名为 {file}（或 {names} 之一）。"),
    ("The weights of {name} have no configuration.", "{name} 的权重缺少配置。"),
    ("Delete {folder} and try again.", "请删除 {folder} 后重试。"),
    (
        "{name} may be used only by those who accept its licence, {licence}.",
        "只有接受其许可证（{licence}）的人才能使用 {name}。",
    ),
    (
        "Read it and, if you agree, start Lucid with the environment variable {variable}.",
        "请阅读许可证；如果同意，请设置环境变量 {variable} 后启动 Lucid。",
    ),
    ("{name} could not be loaded ({reason}).", "无法加载 {name}（{reason}）。"),
    (
        "Check the files in {folder}, or delete them and load the model again.",
        "请检查 {folder} 中的文件，或删除后重新加载模型。",
    ),
    ("{name} broke while it spoke ({reason}).", "{name} 在朗读时出错（{reason}）。"),
    ("Choose another voice or engine, or send the text again.", "请选择另一个音色或引擎，或重新发送文字。"),
    ("{name} cannot say {other}.", "{name} 无法朗读{other}。"),
    ("Choose a speech engine that speaks it.", "请选择会说这种语言的语音引擎。"),
    # what the engines are, in the settings
    ("{model}; pictures reach it in words: objects, text and colours", "{model}；图片以文字传给它：物体、文字和颜色"),
    (
        "Glimpse: SmolLM2-135M looks at the picture itself by cross-attention, trained here (docs/GLIMPSE.md)",
        "Glimpse：SmolLM2-135M 通过交叉注意力直接看图，在本项目中训练（见 docs/GLIMPSE.md）",
    ),
    ("Whisper base, 8-bit, by faster-whisper", "Whisper base，8 位，由 faster-whisper 运行"),
    ("Piper, English (US), one voice, fast on any CPU", "Piper，美式英语，一种音色，任何处理器上都快"),
    (
        "Coqui XTTS-v2: {count} languages, Chinese included, {voices} voices; best with a GPU; licence {licence}",
        "Coqui XTTS-v2：{count} 种语言，包括中文，{voices} 种音色；最好有 GPU；许可证 {licence}",
    ),
    # the store
    ("Lucid could not {doing}: {reason}.", "Lucid 操作失败（{doing}）：{reason}。"),
    ("Free some disk space and try again.", "请释放一些磁盘空间后重试。"),
    (
        "Make the data folder writable, or choose another with --data-dir.",
        "请让数据文件夹可写，或用 --data-dir 选择另一个。",
    ),
    ("Another Lucid is writing; try again in a moment.", "另一个 Lucid 正在写入，请稍后再试。"),
    (
        "Start Lucid again: it moves the damaged database aside and begins a new one.",
        "请重新启动 Lucid：它会移开损坏的数据库并新建一个。",
    ),
    (
        "The conversations were damaged ({reason}). They were moved to {folder}, and Lucid started anew.",
        "对话数据已损坏（{reason}）。它们已移到 {folder}，Lucid 重新开始。",
    ),
    ("The file {name} is no longer in the data folder.", "文件 {name} 已不在数据文件夹中。"),
    ("Attach it again.", "请重新添加。"),
    ("This conversation is not there any more.", "这个对话已不存在。"),
    ("This message is not there any more.", "这条消息已不存在。"),
    ("This file is not there any more.", "这个文件已不存在。"),
    ("Reload the page, or choose another conversation.", "请刷新页面，或选择另一个对话。"),
    # import
    ("This is not a conversation that Lucid exported, or it is damaged.", "这不是 Lucid 导出的对话，或者它已损坏。"),
    (
        "This zip file is not a conversation that Lucid exported (no {file} in it).",
        "这个 zip 不是 Lucid 导出的对话（其中没有 {file}）。",
    ),
    ("This zip file is not a conversation that Lucid exported.", "这个 zip 文件不是 Lucid 导出的对话。"),
    ("The exported conversation lacks a file that it names: {file}.", "导出的对话缺少它所列的文件：{file}。"),
    ("The exported conversation unpacks to more than {size} GB.", "导出的对话解压后超过 {size} GB。"),
    (
        "The file {file} in the exported conversation was changed or is damaged.",
        "导出的对话中的文件 {file} 被改动或已损坏。",
    ),
    ("The {file} in this zip file is too large.", "这个 zip 文件中的 {file} 太大。"),
    (
        "The {file} in this zip file is incomplete or wrong at {place}.",
        "这个 zip 文件中的 {file} 在 {place} 处不完整或有误。",
    ),
    ("The {file} in this zip file is not JSON.", "这个 zip 文件中的 {file} 不是 JSON。"),
    (
        "The conversation was exported in version {version} of the format; this Lucid reads version {ours}.",
        "对话以格式版本 {version} 导出；此 Lucid 读取版本 {ours}。",
    ),
    ("Update Lucid.", "请更新 Lucid。"),
    ("Export it again and import that file.", "请重新导出，再导入那个文件。"),
    # models of the owner's choice, and servers
    *MODELS,
    *SERVERS,
)
