"""What the engine for servers says to the owner, with the Chinese for it; part of the table in ui/sentences_zh.py."""

from __future__ import annotations

SERVERS: tuple[tuple[str, str], ...] = (
    # addresses and keys
    ("The address of the server cannot be read.", "无法读取服务器地址。"),
    ("{text} is not the address of a server.", "{text} 不是服务器地址。"),
    ("An address looks like {example}.", "地址的形式如 {example}。"),
    (
        "The address of a server must be plain: no user name, no password, nothing after a question mark.",
        "服务器地址必须是纯地址：不含用户名、密码，问号之后也不能有内容。",
    ),
    ("Put the key into the environment variable {variable}.", "请把密钥放入环境变量 {variable}。"),
    (
        "Put its key into the environment variable {variable} and start Lucid again.",
        "请把它的密钥放入环境变量 {variable}，并重新启动 Lucid。",
    ),
    (
        "The server at {at} is another machine, and Lucid was told to stay offline.",
        "服务器 {at} 是另一台机器，而 Lucid 被要求保持离线。",
    ),
    (
        "Start Lucid without --offline, or use a server on this machine ({example}).",
        "启动 Lucid 时不要加 --offline，或使用本机的服务器（{example}）。",
    ),
    ("The server at {at} does not accept the key{because}.", "服务器 {at} 不接受该密钥{because}。"),
    ("The server at {at} does not accept the key.", "服务器 {at} 不接受该密钥。"),
    # it cannot be reached
    ("No server answers at {at}.", "{at} 没有服务器应答。"),
    ("Start it, or check the address.", "请启动它，或检查地址。"),
    ("The server at {at} does not answer within {seconds} seconds.", "服务器 {at} 在 {seconds} 秒内没有应答。"),
    ("Check the address and the network.", "请检查地址和网络。"),
    ("The name of the server at {at} is not known.", "找不到服务器 {at} 的名称。"),
    ("The server at {at} does not speak TLS.", "服务器 {at} 不使用 TLS。"),
    ("Check the address: http:// or https://.", "请检查地址：http:// 还是 https://。"),
    ("The certificate of the server at {at} is not valid: {reason}.", "服务器 {at} 的证书无效：{reason}。"),
    (
        "Use a valid one, or name the file of your own authority in the environment variable {variable}.",
        "请使用有效的证书，或在环境变量 {variable} 中指定您自己的证书颁发机构文件。",
    ),
    (
        "The server at {at} sends Lucid on to another address, which it does not follow.",
        "服务器 {at} 让 Lucid 转到另一个地址，Lucid 不会跟随。",
    ),
    ("Use the other address itself.", "请直接使用那个地址。"),
    # models
    ("The server at {at} lists no model.", "服务器 {at} 没有列出任何模型。"),
    (
        "Start it with one, or name one after the address: {example}.",
        "请用一个模型启动它，或在地址后写上模型名：{example}。",
    ),
    ("The server at {at} has no model named {model}.", "服务器 {at} 没有名为 {model} 的模型。"),
    ("It has: {names}.", "它有：{names}。"),
    ("The server at {at} has another model now: {model}.", "服务器 {at} 现在换了另一个模型：{model}。"),
    ("The model {model} on the server at {at} cannot see pictures.", "服务器 {at} 上的模型 {model} 看不了图片。"),
    ("Ask without a picture, or choose a vision-language model.", "请不带图片提问，或选择视觉语言模型。"),
    ("The model {model} cannot see: earlier pictures were left out.", "模型 {model} 看不了图片：已略去之前的图片。"),
    (
        "The server takes {most} pictures at once: {left} earlier ones were left out.",
        "该服务器一次最多接收 {most} 张图片：已略去之前的 {left} 张。",
    ),
    (
        "The server takes no larger request: the pictures were sent smaller, at most {pixels} pixels long.",
        "该服务器不接受更大的请求：图片已缩小后发送，最长边 {pixels} 像素。",
    ),
    # it refuses
    (
        "The server at {at} does not know this request ({status}){because}.",
        "服务器 {at} 不认识这个请求（{status}）{because}。",
    ),
    ("The server at {at} does not know this request ({status}).", "服务器 {at} 不认识这个请求（{status}）。"),
    (
        "Check the address, which usually ends in /v1, and the name of the model.",
        "请检查地址（通常以 /v1 结尾）和模型名称。",
    ),
    ("The server at {at} takes no request of this size.", "服务器 {at} 不接受这么大的请求。"),
    (
        "Attach less, or raise the limit of the server or of the proxy before it ({example}).",
        "请减少附件，或提高服务器及其前面代理的上限（{example}）。",
    ),
    ("The server at {at} has too much to do{because}.", "服务器 {at} 太忙了{because}。"),
    ("The server at {at} has too much to do.", "服务器 {at} 太忙了。"),
    ("The server at {at} is not ready ({status}){because}.", "服务器 {at} 尚未就绪（{status}）{because}。"),
    ("The server at {at} is not ready ({status}).", "服务器 {at} 尚未就绪（{status}）。"),
    ("Wait a little and ask again.", "请稍等片刻再问。"),
    (
        "The server at {at} refuses this question ({status}){because}.",
        "服务器 {at} 拒绝了这个问题（{status}）{because}。",
    ),
    ("The server at {at} refuses this question ({status}).", "服务器 {at} 拒绝了这个问题（{status}）。"),
    (
        "Change the question or the settings, or choose another model.",
        "请修改问题或设置，或选择其他模型。",
    ),
    (
        "The conversation is longer than the {tokens} tokens of the model on the server at {at}.",
        "这段对话超过了服务器 {at} 上的模型的 {tokens} 个词元。",
    ),
    (
        "Ask again: from now on earlier turns are left out in time. If it is one long question, shorten it.",
        "请再问一次：今后会及时略去较早的轮次。如果是一个很长的问题，请缩短。",
    ),
    # it breaks
    ("The server at {at} went away in mid-answer.", "服务器 {at} 在回答途中断开了。"),
    ("What it had said is kept; ask again when it is back.", "它已说的内容保留着；等它恢复后请再问。"),
    (
        "The server at {at} fell silent in mid-answer for {seconds} seconds.",
        "服务器 {at} 在回答途中沉默了 {seconds} 秒。",
    ),
    (
        "The server at {at} did not begin to answer within {seconds} seconds.",
        "服务器 {at} 在 {seconds} 秒内没有开始回答。",
    ),
    ("The server at {at} failed in mid-answer: {said}.", "服务器 {at} 在回答途中出错：{said}。"),
    (
        "The server at {at} sent something unreadable in mid-answer ({kind}).",
        "服务器 {at} 在回答途中发来了无法读取的内容（{kind}）。",
    ),
    (
        "The server at {at} sent far more than an answer is long; it was cut off.",
        "服务器 {at} 发来的内容远多于一个回答；已中断。",
    ),
    ("The server at {at} sent something that is no answer ({kind}).", "服务器 {at} 发来的不是回答（{kind}）。"),
    (
        "The server at {at} does not answer as a stream (it sent {kind}).",
        "服务器 {at} 不以流的方式回答（它发来了 {kind}）。",
    ),
    (
        "Check that the address is that of an OpenAI-compatible server; it usually ends in /v1.",
        "请确认该地址属于兼容 OpenAI 的服务器；它通常以 /v1 结尾。",
    ),
    ("The server at {at} ended without an answer.", "服务器 {at} 没有回答就结束了。"),
    ("The server at {at} failed ({status}){because}.", "服务器 {at} 出错（{status}）{because}。"),
    ("The server at {at} failed ({status}).", "服务器 {at} 出错（{status}）。"),
    ("The server at {at} failed: {said}.", "服务器 {at} 出错：{said}。"),
    ("Ask again; if it stays, look at the log of the server.", "请再问一次；如果仍然如此，请查看服务器的日志。"),
    (
        "What it had said is kept. Ask again; if it stays, look at the log of the server.",
        "它已说的内容保留着。请再问一次；如果仍然如此，请查看服务器的日志。",
    ),
    # how it ends
    (
        "The model on the server at {at} thought until its {tokens} tokens were used up, and said nothing.",
        "服务器 {at} 上的模型一直在思考，用完了 {tokens} 个词元，什么也没说。",
    ),
    ("Allow longer answers, or start the server with thinking off.", "请允许更长的回答，或关闭服务器的思考功能。"),
    ("The answer was cut off at its limit of {tokens} tokens.", "回答在 {tokens} 个词元的上限处被截断。"),
    ("The server at {at} ended the answer: its filter objects to it.", "服务器 {at} 结束了回答：它的过滤器不允许。"),
    ("The server at {at} did not say that the answer is complete.", "服务器 {at} 没有表明回答已经完整。"),
)
