"""Whether a question needs a picture: asked without one, Lucid says so and invents nothing."""

import pytest

from assistant.grounding import asks_about_a_picture, no_picture_answer

NEEDS_A_PICTURE = [
    "What is in this picture?",
    "What is in the picture?",
    "Describe the image.",
    "Describe this photo in one sentence",
    "What colour is the car in the photo?",
    "How many dogs are in the image?",
    "Is there a cat in this picture?",
    "Read the screenshot",
    "What does the picture show?",
    "What do you see?",
    "what can you see here?",
    "Who is in my photo?",
    "I attached an image, what is it?",
    "Look at the picture and tell me what it is",
    "What happens in the video?",
    "Can you explain the image to me?",
    "Tell me about the photo",
    "Where was the photo taken? Describe the image",
    "Summarize this video",
    "What is written on the attached image?",
    "这张图片里有什么？",
    "描述一下图片",
    "图里有几只狗？",
    "照片中的人在做什么？",
    "这个视频讲了什么？",
]
NEEDS_NONE = [
    "What is the capital of France?",
    "How do I take a good photo at night?",
    "Who invented photography?",
    "Write a poem about pictures",
    "Imagine this picture: a red house by a lake. What time of day is it?",
    "How do I resize an image in Python?",
    "What is a screenshot?",
    "Explain how video compression works",
    "Draw a cat in this picture frame with ASCII",
    "What is image recognition?",
    "Do you like movies?",
    "What do you see as the main causes of the war?",
    "怎么拍好照片？",
    "法国的首都是哪里？",
    "什么是图像识别？",
]


@pytest.mark.parametrize("question", NEEDS_A_PICTURE)
def test_needs_a_picture(question):
    assert asks_about_a_picture(question)


@pytest.mark.parametrize("question", NEEDS_NONE)
def test_needs_no_picture(question):
    assert not asks_about_a_picture(question)


def test_the_answer_is_in_the_language_of_the_question():
    assert no_picture_answer("What is in this picture?").startswith("There is no picture")
    assert "没有图片" in no_picture_answer("这张图片里有什么？")
